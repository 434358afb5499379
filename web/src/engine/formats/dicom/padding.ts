/** Where a DICOM film's pixels are padding: declared, or as it looks. `formats/dicom_padding.py`. */

import type { Numbers } from "../../film_values";
import { extremes, ofSorted, roundHalfEven } from "../../numeric";
import type { DataSet } from "./elements";

const LEAST_OF_BORDER = 0.1;
const LEAST_OF_FILM = 0.005;
const LEAST_GAP = 0.25;
const LEVELS = 32;

/** Return 1 where stored words (H, W) are padding; undefined where nothing is. */
export function paddingOf(data: DataSet, words: Numbers, width: number): Uint8Array | undefined {
  if (words instanceof Float32Array || words instanceof Float64Array) return undefined;
  let found = declared(data, words);
  const [low, high] = extremes(words);
  for (const end of [high, low]) {
    const known = found;
    const there = Uint8Array.from(words as ArrayLike<number>, (value, i) => (value === end && !known?.[i] ? 1 : 0));
    if (!isApart(words, there, end, known, width)) continue;
    found = known === undefined ? there : there.map((value, i) => value | known[i]);
  }
  return found?.includes(1) && found.includes(0) ? found : undefined;
}

function declared(data: DataSet, words: Numbers): Uint8Array | undefined {
  const first = data.number("PixelPaddingValue");
  if (first === undefined) return undefined;
  const last = data.number("PixelPaddingRangeLimit") ?? first;
  const signed = words instanceof Int8Array || words instanceof Int16Array || words instanceof Int32Array;
  const ends = [first, last].map((value) => asStored(roundHalfEven(value), words.BYTES_PER_ELEMENT * 8, signed));
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  const found = Uint8Array.from(words as ArrayLike<number>, (value) => (value >= low && value <= high ? 1 : 0));
  return found.includes(1) ? found : undefined;
}

/** Return the value whose bits in a word of the pixels' kind are the tag's. */
function asStored(value: number, bits: number, signed: boolean): number {
  const range = 2 ** bits;
  const own = ((value % range) + range) % range;
  return signed && own >= range / 2 ? own - range : own;
}

function isApart(words: Numbers, there: Uint8Array, end: number, known: Uint8Array | undefined, width: number): boolean {
  const height = words.length / width;
  let edge = 0;
  for (let x = 0; x < width; x++) edge += there[x] + there[(height - 1) * width + x];
  for (let y = 0; y < height; y++) edge += there[y * width] + there[(y + 1) * width - 1];
  const total = there.reduce((sum, value) => sum + value, 0);
  if (edge / (2 * (width + height)) < LEAST_OF_BORDER || total / words.length < LEAST_OF_FILM) return false;
  const rest: number[] | Numbers = (words as Int32Array).filter((_, i) => !there[i] && !known?.[i]);
  if (rest.length < LEVELS || new Set(every(rest, rest.length >> 16)).size < LEVELS) return false;
  const sorted = every(rest, rest.length >> 18).sort();
  const [low, high] = [ofSorted(sorted, 0.01), ofSorted(sorted, 99.99)];
  return Math.max(end - high, low - end) > LEAST_GAP * (high - low);
}

/** Return `values[::max(1, step)]`. */
function every(values: Numbers, step: number): Float64Array {
  const by = Math.max(1, step);
  return Float64Array.from({ length: Math.ceil(values.length / by) }, (_, i) => values[i * by]);
}
