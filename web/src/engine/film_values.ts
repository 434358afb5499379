/** What every film must be, and how its file's numbers become grey values: `radiograph/film.py`. */

import { extremes, roundHalfEven } from "./numeric";
import { FilmError } from "./types";
import type { Spacing } from "./types";

export const MIN_SIDE = 16;
export const MAX_PIXELS = 100_000_000;
const MEGAPIXELS = MAX_PIXELS / 1_000_000;

/** Stored numbers: of 8 bits their range is known, of all others it is what they span. */
export type Numbers = Uint8Array | Int8Array | Uint16Array | Int16Array | Uint32Array | Int32Array | Float32Array | Float64Array;

/** Refuse a film by its size, before its pixels are decoded. */
export function checkSize(name: string, height: number, width: number): void {
  if (Math.min(height, width) < MIN_SIDE) {
    throw new FilmError(`${name} has ${width} x ${height} pixels: a film needs at least ${MIN_SIDE} on each side.`);
  }
  checkMost(name, height, width);
}

/** Refuse a picture of too many pixels, before they are decoded. */
export function checkMost(name: string, height: number, width: number): void {
  if (height * width > MAX_PIXELS) {
    throw new FilmError(`${name} has ${width} x ${height} pixels: reduce it to at most ${MEGAPIXELS} megapixels.`);
  }
}

/**
 * Return values in [0, 1]: of 8 bits over 255, all others from their least to their greatest.
 *
 * @param keep fractions that are in [0, 1] already stay as they are.
 */
export function scaled(values: Numbers, name: string, keep = true): Float32Array {
  const result = new Float32Array(values.length);
  if (values instanceof Uint8Array) {
    for (let i = 0; i < values.length; i++) result[i] = values[i] / 255;
    return result;
  }
  const [low, high] = extremes(values);
  if (!Number.isFinite(low) || !Number.isFinite(high)) {
    throw new FilmError(`${name} holds values that are not finite numbers (NaN or infinity): export the film again.`);
  }
  const isFloat = values instanceof Float32Array || values instanceof Float64Array;
  if (keep && isFloat && low >= 0 && high <= 1) {
    result.set(values); // already in [0, 1]
    return result;
  }
  if (high <= low) return result;
  const range = high - low;
  if (!Number.isFinite(range)) throw new FilmError(`${name} holds values that are too far apart: export the film again.`);
  if (values.BYTES_PER_ELEMENT <= 2) {
    const single = Math.fround(range); // NumPy computes 16 bits in float32
    for (let i = 0; i < values.length; i++) result[i] = Math.fround(values[i] - low) / single;
  } else {
    for (let i = 0; i < values.length; i++) result[i] = (values[i] - low) / range;
  }
  return result;
}

/** Return values, the greatest of which is black, inverted within the range that `scaled` gives them. */
export function turnedOver(values: Numbers): Numbers {
  if (values instanceof Uint8Array) return values.map((value) => 255 - value);
  const [low, high] = extremes(values);
  const isFloat = values instanceof Float32Array || values instanceof Float64Array;
  if (isFloat) return low >= 0 && high <= 1 ? values.map((value) => 1 - value) : values.map((value) => high - value);
  if (values instanceof Int8Array || values instanceof Int16Array || values instanceof Int32Array) {
    return Int32Array.from(values, (value) => high - value); // signed differences could wrap
  }
  return values.map((value) => high - value);
}

/** Pillow's grey of 8-bit colours (ITU-R BT.601 in 16 bits), `stride` numbers a pixel. */
export function pillowLuma(colours: Uint8Array, stride = 3): Uint8Array {
  const grey = new Uint8Array(colours.length / stride);
  for (let i = 0, from = 0; i < grey.length; i++, from += stride) {
    grey[i] = (colours[from] * 19595 + colours[from + 1] * 38470 + colours[from + 2] * 7471 + 0x8000) >> 16;
  }
  return grey;
}

const [RED, GREEN, BLUE] = [0.299, 0.587, 0.114].map(Math.fround);

/** `film.grey`: (H, W) luma of colours; 8 bits stay 8 bits, all else becomes float32. */
export function luma(colours: Numbers, stride = 3): Uint8Array | Float32Array {
  const small = colours instanceof Uint8Array;
  const grey = new (small ? Uint8Array : Float32Array)(colours.length / stride);
  for (let i = 0, from = 0; i < grey.length; i++, from += stride) {
    const value = Math.fround(
      Math.fround(Math.fround(colours[from] * RED) + Math.fround(colours[from + 1] * GREEN)) +
        Math.fround(colours[from + 2] * BLUE),
    );
    grey[i] = small ? roundHalfEven(value) : value;
  }
  return grey;
}

/** Return a spacing in mm if a film of this size can have it: 100 to 600 mm wide, pixels not too oblong. */
export function possibleSpacing(spacing: Spacing | undefined, width: number): Spacing | undefined {
  if (spacing === undefined) return undefined;
  const { row, column } = spacing;
  const across = column * width;
  const possible = row > 0 && column > 0 && across >= 100 && across <= 600;
  return possible && row / column >= 0.25 && row / column <= 4 ? spacing : undefined;
}
