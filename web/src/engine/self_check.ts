import type { SelfCheck } from "./types";
import type { Segmenter } from "./segmenter";

/** Segment a built-in phantom and compare the mask with the stored answer. */
export async function selfCheck(segmenter: Segmenter): Promise<SelfCheck> {
  throw new Error(`not written yet: ${segmenter.info.name}`);
}
