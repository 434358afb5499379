import stored from "./self_check.json";
import { readFilm } from "./read_film";
import type { Segmenter } from "./segmenter";
import { isOutOfMemory, unsupported } from "./support";
import type { SelfCheck } from "./types";

const LEAST_AGREEMENT = 0.995;

/** What Python's Segmenter gives for the phantom, by model: where its mask changes, pixel by pixel from the top left. */
interface Stored {
  width: number;
  height: number;
  png: string; // base64
  answers: Record<string, { runs: number[]; quality: number } | undefined>;
}

/** Segment a built-in phantom and compare the mask with the stored answer of the Python package. */
export async function selfCheck(segmenter: Segmenter): Promise<SelfCheck> {
  const lacking = unsupported();
  if (lacking !== undefined) return { ok: false, sentence: lacking };
  const { png, answers, width, height } = stored as Stored;
  const { name } = segmenter.info;
  try {
    const film = await readFilm(Uint8Array.from(atob(png), (letter) => letter.charCodeAt(0)), "phantom");
    const { mask, seconds } = await segmenter.segment(film);
    const answer = answers[name];
    if (answer === undefined) return { ok: true, sentence: `The model ${name} runs here; there is no stored answer to compare its mask with.` };
    const share = agreement(mask, answer.runs, width * height);
    const percent = (Math.floor(share * 10000) / 100).toFixed(2);
    if (share < LEAST_AGREEMENT) {
      return {
        ok: false,
        sentence: `Self-check failed: only ${percent} % of the phantom's pixels are as stored, so this browser computes something else; do not use its masks.`,
      };
    }
    return { ok: true, sentence: `Self-check passed: ${percent} % of the phantom's pixels are as stored (${seconds.toFixed(1)} s).` };
  } catch (error) {
    if (isOutOfMemory(error)) return { ok: false, sentence: "There is too little memory for the model here: close other pages, or use another device." };
    return { ok: false, sentence: `Self-check failed: ${error instanceof Error ? error.message : String(error)}` };
  }
}

/** Return the share of pixels that agree; runs begin with pixels outside. */
function agreement(mask: Uint8Array, runs: number[], size: number): number {
  if (mask.length !== size) return 0;
  let place = 0;
  let same = 0;
  runs.forEach((run, i) => {
    for (const end = place + run; place < end; place++) if (mask[place] === i % 2) same++;
  });
  return same / size;
}
