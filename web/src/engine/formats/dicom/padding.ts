/** Where a DICOM film's pixels are padding: declared, or as it looks. `formats/dicom_padding.py`. */

import type { Numbers } from "../../film_values";
import { extremes, ofSorted, roundHalfEven } from "../../numeric";
import type { DataSet } from "./elements";

const LEAST_OF_BORDER = 0.1;
const LEAST_OF_FILM = 0.005;
const LEAST_GAP = 0.25;
const MOST_OF_IMAGE = 0.5; // is a range of padding ...
const LEAST_FROM_EDGE = 0.9; // ... of which as much as this lies between the film and an edge
const LEVELS = 32;

/** Return 1 where stored words (H, W) are padding; undefined where nothing is. */
export function paddingOf(data: DataSet, words: Numbers, width: number, notices: string[]): Uint8Array | undefined {
  if (words instanceof Float32Array || words instanceof Float64Array) return undefined;
  let found = declared(data, words, width, notices);
  const [low, high] = extremes(words);
  for (const end of [high, low]) {
    const known = found;
    if (!reachesBorder(words, end, known, width)) continue; // of most films: nothing else need be looked at
    const there = marked(words, (value, i) => value === end && !known?.[i]);
    if (!isApart(words, there, end, known)) continue;
    found = known === undefined ? there : there.map((value, i) => value | known[i]);
  }
  return found?.includes(1) && found.includes(0) ? found : undefined;
}

function declared(data: DataSet, words: Numbers, width: number, notices: string[]): Uint8Array | undefined {
  const first = data.number("PixelPaddingValue");
  if (first === undefined) return undefined;
  const last = data.number("PixelPaddingRangeLimit");
  const signed = words instanceof Int8Array || words instanceof Int16Array || words instanceof Int32Array;
  const ends = [first, last ?? first].map((value) => asStored(roundHalfEven(value), words.BYTES_PER_ELEMENT * 8, signed));
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  const found = marked(words, (value) => value >= low && value <= high);
  if (!found.includes(1)) return undefined;
  if (last !== undefined && isFilm(words, found, width)) {
    notices.push("The range of padding covers part of the film and was ignored.");
    return undefined;
  }
  return found;
}

/** Tell whether a range of padding holds much of what lies within the film. */
function isFilm(words: Numbers, found: Uint8Array, width: number): boolean {
  const total = found.reduce((sum, value) => sum + value, 0);
  const within = total / words.length > MOST_OF_IMAGE || fromEdge(found, width) / total < LEAST_FROM_EDGE;
  return within && new Set(words.filter((_, i) => found[i] === 1)).size >= LEVELS;
}

/** Return how many marked pixels an edge leads to in their row or column, all marked. */
function fromEdge(there: Uint8Array, width: number): number {
  const height = there.length / width;
  const reached = new Uint8Array(there.length);
  const follow = (from: number, step: number, count: number): void => {
    for (let i = 0, cell = from; i < count && there[cell]; i++, cell += step) reached[cell] = 1;
  };
  for (let y = 0; y < height; y++) {
    follow(y * width, 1, width);
    follow((y + 1) * width - 1, -1, width);
  }
  for (let x = 0; x < width; x++) {
    follow(x, width, height);
    follow((height - 1) * width + x, -width, height);
  }
  return reached.reduce((sum, value) => sum + value, 0);
}

/** Return the value whose bits in a word of the pixels' kind are the tag's. */
function asStored(value: number, bits: number, signed: boolean): number {
  const range = 2 ** bits;
  const own = ((value % range) + range) % range;
  return signed && own >= range / 2 ? own - range : own;
}

/** Return 1 where `holds`. A plain loop: `Uint8Array.from` with a function takes ten times as long. */
function marked(words: Numbers, holds: (value: number, i: number) => boolean): Uint8Array {
  const found = new Uint8Array(words.length);
  for (let i = 0; i < words.length; i++) if (holds(words[i], i)) found[i] = 1;
  return found;
}

/** Return whether `end`, where not known to be padding, makes up enough of the film's border. */
function reachesBorder(words: Numbers, end: number, known: Uint8Array | undefined, width: number): boolean {
  const height = words.length / width;
  let edge = 0;
  const look = (i: number): void => {
    if (words[i] === end && !known?.[i]) edge++;
  };
  for (let x = 0; x < width; x++) [x, (height - 1) * width + x].forEach(look);
  for (let y = 0; y < height; y++) [y * width, (y + 1) * width - 1].forEach(look);
  return edge / (2 * (width + height)) >= LEAST_OF_BORDER;
}

function isApart(words: Numbers, there: Uint8Array, end: number, known: Uint8Array | undefined): boolean {
  const total = there.reduce((sum, value) => sum + value, 0);
  if (total / words.length < LEAST_OF_FILM) return false;
  const rest = new Float64Array(words.length - total - (known?.reduce((sum, value) => sum + value, 0) ?? 0));
  for (let i = 0, to = 0; i < words.length; i++) if (!there[i] && !known?.[i]) rest[to++] = words[i];
  if (rest.length < LEVELS || new Set(every(rest, rest.length >> 16)).size < LEVELS) return false;
  const sorted = every(rest, rest.length >> 18).sort();
  const [low, high] = [ofSorted(sorted, 0.01), ofSorted(sorted, 99.99)];
  return Math.max(end - high, low - end) > LEAST_GAP * (high - low);
}

/** Return `values[::max(1, step)]`. */
function every(values: Float64Array, step: number): Float64Array {
  const by = Math.max(1, step);
  const found = new Float64Array(Math.ceil(values.length / by));
  for (let i = 0; i < found.length; i++) found[i] = values[i * by];
  return found;
}
