/**
 * Which bits of a DICOM film's words are its values, and whether they are signed, where the header is wrong:
 * `formats/dicom_bits.py`. Read wrongly, a film jumps through the whole range; the reading without these jumps is the film.
 */

import { extremes } from "../../numeric";

export type Whole = Uint8Array | Int8Array | Uint16Array | Int16Array | Uint32Array | Int32Array;

const ROWS = 256; // that are looked at
const OFTEN = 0.05; // of the pixels: a value that as many have is a shutter's, or the detector's end
const SHUTTERS = 2; // whose edges a row passes
const LEAST_JUMPS = 0.25; // in a row, besides these; ...
const TIMES = 2; // ... and as many times those of the other reading

const NOTICE = "The header's BitsStored or PixelRepresentation does not fit the pixels and was ignored.";

/** How words are read: of so many of their lowest bits, with a sign or without. */
interface Reading {
  bits: number;
  signed: boolean;
}

export function isSigned(values: ArrayLike<number>): boolean {
  return values instanceof Int8Array || values instanceof Int16Array || values instanceof Int32Array;
}

/**
 * Return decoded grey values without foreign bits: those above BitsStored, a sign bit that is not one.
 *
 * @param values as decoded, with all bits.
 * @param stored the header's BitsStored.
 * @param judged whether the header may be wrong; the numbers of a palette are not judged.
 */
export function ownBits(values: Whole, columns: number, stored: number, judged: boolean, notices: string[]): Whole {
  if (!(stored > 0 && stored < 32)) return values;
  const told: Reading = { bits: Math.min(stored, 8 * values.BYTES_PER_ELEMENT), signed: isSigned(values) };
  let best = told;
  if (judged) {
    const rows = rowsOf(values, columns);
    const drawn = drawnIn(rows, told);
    for (const other of others(rows, told)) if (isBetter(rows, drawn, columns, other, best)) best = other;
  }
  if (best !== told) notices.push(NOTICE);
  return narrowed(read(values, best));
}

function rowsOf(values: Whole, columns: number): Whole {
  const height = values.length / columns;
  const step = Math.ceil(height / ROWS);
  const rows = new (values.constructor as new (length: number) => Whole)(Math.ceil(height / step) * columns);
  for (let y = 0, to = 0; y < height; y += step, to += columns) rows.set(values.subarray(y * columns, (y + 1) * columns), to);
  return rows;
}

/** Return the other readings: of the bits that the header tells, that are used, of all. */
function others(rows: Whole, { bits, signed }: Reading): Reading[] {
  const word = 8 * rows.BYTES_PER_ELEMENT;
  let all = 0;
  for (const value of rows) all |= value;
  const used = 32 - Math.clz32((all & (2 ** word - 1)) >>> 0);
  const wider = used > bits ? [...new Set([used, word])] : [];
  return [{ bits, signed: !signed }, ...[false, true].flatMap((sign) => wider.map((wide) => ({ bits: wide, signed: sign })))];
}

/** Tell whether `best` jumps where `other` does not, far more often than the reverse. */
function isBetter(rows: Whole, drawn: Uint8Array, columns: number, other: Reading, best: Reading): boolean {
  const most = 2 ** (best.bits - 1);
  let [found, reverse] = [0, 0];
  for (let start = 0; start < rows.length; start += columns) {
    let jumps = 0;
    for (let i = start + 1; i < start + columns; i++) {
      if (drawn[i] || drawn[i - 1]) continue;
      const mine = Math.abs(numberIn(rows[i], best) - numberIn(rows[i - 1], best));
      const theirs = Math.abs(numberIn(rows[i], other) - numberIn(rows[i - 1], other));
      if (theirs < mine && theirs < most) jumps++;
      if (theirs > mine) reverse++;
    }
    found += Math.max(jumps - SHUTTERS, 0);
  }
  return found >= Math.max(1, (LEAST_JUMPS * rows.length) / columns, TIMES * reverse);
}

/** Return 1 where shutters and letters are: values that many pixels have, and the least and the greatest one. */
function drawnIn(rows: Whole, told: Reading): Uint8Array {
  const often = oftenIn(rows);
  const [low, high] = extremes(read(rows, told));
  for (let i = 0; i < rows.length; i++) {
    const number = numberIn(rows[i], told);
    if (number === low || number === high) often[i] = 1;
  }
  return often;
}

/** Return 1 where a value is one of those that many pixels have. */
function oftenIn(rows: Whole): Uint8Array {
  const often = new Uint8Array(rows.length);
  if (rows.BYTES_PER_ELEMENT > 2) return often;
  const mask = 2 ** (8 * rows.BYTES_PER_ELEMENT) - 1;
  const counts = new Uint32Array(mask + 1);
  for (const value of rows) counts[value & mask]++;
  for (let i = 0; i < rows.length; i++) if (counts[rows[i] & mask] >= OFTEN * rows.length) often[i] = 1;
  return often;
}

/** Return the number in the lowest bits of a word. */
function numberIn(word: number, { bits, signed }: Reading): number {
  const number = (word & (2 ** bits - 1)) >>> 0;
  return signed && number >= 2 ** (bits - 1) ? number - 2 ** bits : number;
}

function read(values: Whole, reading: Reading): Whole {
  const [low, high] = extremes(values);
  const { bits, signed } = reading;
  const [least, most] = signed ? [-(2 ** (bits - 1)), 2 ** (bits - 1)] : [0, 2 ** bits];
  if (low >= least && high < most) return values;
  const kept = !signed && !isSigned(values);
  const numbers = new (kept ? (values.constructor as new (length: number) => Whole) : signed ? Int32Array : Uint32Array)(values.length);
  for (let i = 0; i < values.length; i++) numbers[i] = numberIn(values[i], reading);
  return numbers;
}

/** Return whole numbers in 16 bits where they fit. */
function narrowed(values: Whole): Whole {
  if (values.BYTES_PER_ELEMENT <= 2) return values;
  const [low, high] = extremes(values);
  if (low >= 0) return high < 1 << 16 ? Uint16Array.from(values) : values;
  return low >= -(1 << 15) && high < 1 << 15 ? Int16Array.from(values) : values;
}
