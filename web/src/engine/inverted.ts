/** Tell from the content whether a film is inverted, upside down or on its side: `radiograph/inverted.py`. */

import { extremes, ofSorted, percentiles, thinned } from "./numeric";
import type { Grid } from "./numeric";
import { resizeBilinear } from "./resample";

const LEAST_SIDE = 64;
const LEAST_LIKENESS = 0.25;
const UNIFORM = 0.1;
const MOST_BORDER = 0.35;
const LEAST_DIFFERENCE = 0.1;
const SIDE = 8;

const HALF = [
  [-1.3, -1.2, -1.3, 1.1],
  [-0.3, -0.2, -1.5, 0.4],
  [1.2, 0.3, -1.5, 0.7],
  [0.0, -0.4, -1.6, 1.4],
  [-0.8, -0.6, -0.9, 1.1],
  [-1.3, 0.0, 0.2, 1.4],
  [-0.8, 0.3, 0.9, 1.7],
  [0.2, 0.1, 1.4, 1.2],
];
/** The pattern of a chest film, and the same turned by 90, 180 and 270 degrees against the clock. */
const TURNED: number[][][] = [HALF.map((row) => [...row, ...[...row].reverse()])];
for (let turn = 1; turn < 4; turn++) TURNED.push(turnedLeft(TURNED[turn - 1]));

export const INVERTED_NOTICE = "The grey values look inverted (lungs brighter than the body), so they were inverted.";

/** Tell whether the picture shows the negative of an upright chest film; in doubt it does not. */
export function looksInverted(pixels: Grid): boolean {
  if (Math.min(pixels.width, pixels.height) < LEAST_SIDE) return false;
  const [upright, ...others] = turnedLikeness(pixels);
  return -upright > Math.max(LEAST_LIKENESS, ...others);
}

/** Tell whether the picture shows a chest film turned by 180 degrees; in doubt it does not. */
export function looksUpsideDown(pixels: Grid): boolean {
  const [upright, left, turned, right] = turnedLikeness(pixels);
  return turned > Math.max(LEAST_LIKENESS, upright + LEAST_DIFFERENCE, left, right);
}

/** Tell whether the picture shows a chest film turned by 90 or 270 degrees; in doubt it does not. */
export function looksOnItsSide(pixels: Grid): boolean {
  const [upright, left, turned, right] = turnedLikeness(pixels);
  return Math.max(left, right) > Math.max(LEAST_LIKENESS, upright + LEAST_DIFFERENCE, turned + LEAST_DIFFERENCE);
}

/** Return grey values with bright = dense, and whether they had to be inverted. */
export function righted(pixels: Grid): { data: Float32Array; inverted: boolean } {
  if (!looksInverted(pixels)) return { data: pixels.data, inverted: false };
  const most = extremes(pixels.data)[1];
  return { data: pixels.data.map((value) => most - value), inverted: true };
}

function turnedLikeness(pixels: Grid): number[] {
  const small = thumbnail(pixels);
  return TURNED.map((pattern) => correlation(small, pattern));
}

/** Return (8, 8) of what lies inside a uniform border, of mean 0. */
function thumbnail(pixels: Grid): Float64Array {
  const step = Math.max(1, Math.floor(Math.min(pixels.width, pixels.height) / LEAST_SIDE));
  const inside = insideBorder(thinned(pixels.data, pixels.width, pixels.height, step));
  const [low, high] = percentiles(inside.data, [0.5, 99.5]);
  const clipped = inside.data.map((value) => Math.min(Math.max(value, low), high));
  const small = Float64Array.from(resizeBilinear({ ...inside, data: clipped }, SIDE, SIDE).data);
  const mean = small.reduce((sum, value) => sum + value, 0) / small.length;
  return small.map((value) => value - mean);
}

/** Return the picture without a uniform border: rows and columns at its edges that are nearly constant. */
function insideBorder(pixels: Grid): Grid {
  const { width, height } = pixels;
  const [top, left] = [Math.floor(height / 4), Math.floor(width / 4)];
  const [low, high] = percentiles(cut(pixels, top, height - top, left, width - left).data, [0.5, 99.5]);
  const limit = UNIFORM * (high - low);
  const rows = varied(pixels, limit);
  const columns = varied(transposed(cut(pixels, rows[0], rows[1], 0, width)), limit);
  const again = varied(cut(pixels, 0, height, columns[0], columns[1]), limit);
  return cut(pixels, again[0], again[1], columns[0], columns[1]);
}

/** Return which rows are left without those at both ends that span at most `limit`: first and end. */
function varied(lines: Grid, limit: number): [number, number] {
  const most = Math.trunc(MOST_BORDER * lines.height);
  let first = -1;
  let last = -1;
  for (let y = 0; y < lines.height; y++) {
    const row = lines.data.slice(y * lines.width, (y + 1) * lines.width).sort();
    if (ofSorted(row, 90) - ofSorted(row, 10) > limit) {
      if (first < 0) first = y;
      last = y;
    }
  }
  if (first < 0) return [0, lines.height];
  return [Math.min(first, most), Math.max(last + 1, lines.height - most)];
}

function cut(pixels: Grid, top: number, bottom: number, left: number, right: number): Grid {
  const width = right - left;
  const data = new Float32Array(width * (bottom - top));
  for (let y = top; y < bottom; y++) {
    data.set(pixels.data.subarray(y * pixels.width + left, y * pixels.width + right), (y - top) * width);
  }
  return { width, height: bottom - top, data };
}

function transposed(pixels: Grid): Grid {
  const { width, height } = pixels;
  const data = new Float32Array(width * height);
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) data[x * height + y] = pixels.data[y * width + x];
  return { width: height, height: width, data };
}

function correlation(small: Float64Array, pattern: number[][]): number {
  let product = 0;
  let own = 0;
  let other = 0;
  pattern.flat().forEach((weight, i) => {
    product += small[i] * weight;
    own += small[i] * small[i];
    other += weight * weight;
  });
  const strength = Math.sqrt(own) * Math.sqrt(other);
  return strength > 1e-9 ? product / strength : 0;
}

/** NumPy's `rot90`: the last column becomes the first row. */
function turnedLeft(square: number[][]): number[][] {
  return square.map((_, y) => square.map((row) => row[SIDE - 1 - y]));
}
