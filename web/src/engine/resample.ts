/**
 * Pillow's `resize` of float32 pictures with `Resampling.BILINEAR` (`libImaging/Resample.c`).
 *
 * A triangle as wide as the reduction asks for, sampled at pixel centres, summed in float64; first along the rows,
 * then along the columns, with a float32 picture between the two. A pass that would change nothing is left out.
 * Pillow takes the columns first for some sizes; its numbers then differ by one rounding of that float32 picture.
 */

import type { Grid } from "./numeric";

/** The part of the source, in its pixels, that the result shows: left, top, right, bottom; may be fractional. */
export type Part = readonly [number, number, number, number];

interface Taps {
  first: Int32Array;
  count: Int32Array;
  weights: Float64Array;
  size: number; // weights a place
}

/** Return the picture, or the part `box` of it, on `width` x `height` pixels. */
export function resizeBilinear(source: Grid, width: number, height: number, box?: Part): Grid {
  const part = (box ?? [0, 0, source.width, source.height]).map(Math.fround) as unknown as Part; // C floats
  const [left, top, right, bottom] = part;
  const across = width !== source.width || left !== 0 || right !== width;
  const down = height !== source.height || top !== 0 || bottom !== height;
  let result = source;
  let shift = 0;
  const vertical = taps(source.height, top, bottom, height);
  if (across) {
    shift = vertical.first[0];
    const end = vertical.first[height - 1] + vertical.count[height - 1];
    result = alongRows(source, width, shift, end, taps(source.width, left, right, width));
  }
  if (down) result = alongColumns(result, height, shift, vertical);
  return result === source ? { ...source, data: source.data.slice() } : result;
}

function taps(size: number, start: number, end: number, wanted: number): Taps {
  const scale = Math.fround(end - start) / wanted;
  const filterScale = Math.max(scale, 1);
  const support = filterScale; // the triangle reaches one pixel to each side
  const most = Math.ceil(support) * 2 + 1;
  const found: Taps = {
    first: new Int32Array(wanted),
    count: new Int32Array(wanted),
    weights: new Float64Array(wanted * most),
    size: most,
  };
  const inverse = 1 / filterScale;
  for (let place = 0; place < wanted; place++) {
    const centre = start + (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const count = Math.min(size, Math.trunc(centre + support + 0.5)) - first;
    const base = place * most;
    let sum = 0;
    for (let i = 0; i < count; i++) {
      const distance = Math.abs((i + first - centre + 0.5) * inverse);
      const weight = distance < 1 ? 1 - distance : 0;
      found.weights[base + i] = weight;
      sum += weight;
    }
    if (sum !== 0) for (let i = 0; i < count; i++) found.weights[base + i] /= sum;
    found.first[place] = first;
    found.count[place] = count;
  }
  return found;
}

function alongRows(source: Grid, width: number, from: number, to: number, { first, count, weights, size }: Taps): Grid {
  const data = new Float32Array(width * (to - from));
  for (let y = from, out = 0; y < to; y++) {
    const row = y * source.width;
    for (let x = 0; x < width; x++, out++) {
      const begin = row + first[x];
      const base = x * size;
      let sum = 0;
      for (let i = 0; i < count[x]; i++) sum += source.data[begin + i] * weights[base + i];
      data[out] = sum;
    }
  }
  return { width, height: to - from, data };
}

function alongColumns(source: Grid, height: number, shift: number, { first, count, weights, size }: Taps): Grid {
  const { width } = source;
  const data = new Float32Array(width * height);
  const sums = new Float64Array(width);
  for (let y = 0; y < height; y++) {
    sums.fill(0);
    for (let i = 0; i < count[y]; i++) {
      const weight = weights[y * size + i];
      const row = (first[y] - shift + i) * width;
      for (let x = 0; x < width; x++) sums[x] += source.data[row + x] * weight;
    }
    data.set(sums, y * width);
  }
  return { width, height, data };
}
