/** The Web Worker that runs the engine: it answers one question after the other. */

import { prepareCodecs } from "./formats/codecs";
import { readFilm } from "./read_film";
import { selfCheck } from "./self_check";
import { Segmenter } from "./segmenter";
import type { Answer, Calls, Question } from "./messages";
import { BundleError } from "./types";

type Work = { [K in keyof Calls]: (...args: Calls[K]["takes"]) => Promise<Calls[K]["gives"]> };

let segmenter: Segmenter | undefined;

function opened(): Segmenter {
  if (segmenter === undefined) throw new BundleError("No model is open: open one first.");
  return segmenter;
}

async function fetched(url: string, file: string): Promise<ArrayBuffer> {
  const response = await fetch(new URL(file, url));
  if (!response.ok) throw new BundleError(`The model's file ${file} cannot be loaded (${response.status}): reload the page.`);
  return response.arrayBuffer();
}

const work: Work = {
  async open(url, options) {
    [segmenter] = await Promise.all([Segmenter.open((file) => fetched(url, file), options), prepareCodecs()]);
    return segmenter.info;
  },
  readFilm,
  embed: (film) => opened().embed(film),
  decode: (embedded, prompt) => opened().decode(embedded, prompt),
  segment: (film, prompt) => opened().segment(film, prompt),
  selfCheck: () => selfCheck(opened()),
};

let last = Promise.resolve();

self.onmessage = ({ data }: MessageEvent<Question>): void => {
  last = last.then(() => answered(data));
};

async function answered({ id, call, args }: Question): Promise<void> {
  let answer: Answer;
  try {
    answer = { id, value: await (work[call] as (...args: unknown[]) => Promise<unknown>)(...args) };
  } catch (error) {
    const { name, message } = error instanceof Error ? error : new Error(String(error));
    answer = { id, error: { name, message } };
  }
  self.postMessage(answer, { transfer: buffersOf(answer.value) });
}

/** Return the buffers of an answer's own arrays, which are moved instead of copied. */
function buffersOf(value: unknown): Transferable[] {
  const parts = Object.values((value ?? {}) as Record<string, unknown>);
  return parts.flatMap((part) => (ArrayBuffer.isView(part) && part.buffer instanceof ArrayBuffer ? [part.buffer] : []));
}
