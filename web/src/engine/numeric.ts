/** NumPy's arithmetic where its rounding shows: float32 values, percentiles, Python's `round`. */

/** Return NumPy's percentiles (linear) of values that are sorted here; `shares` are 0 to 100. */
export function percentiles(values: Float32Array, shares: readonly number[]): number[] {
  const sorted = Float32Array.from(values).sort();
  return shares.map((share) => ofSorted(sorted, share));
}

/** Return one percentile (0 to 100) of rising float32 values, as NumPy's `_lerp` rounds it: in float64. */
export function ofSorted(sorted: ArrayLike<number>, share: number): number {
  const place = (sorted.length - 1) * (share / 100);
  if (place >= sorted.length - 1) return sorted[sorted.length - 1];
  const below = Math.floor(place);
  const a = sorted[below];
  const b = sorted[below + 1];
  const part = place - below;
  const step = Math.fround(b - a);
  return part >= 0.5 ? b - step * (1 - part) : a + step * part;
}

/** Python's `round`: halves go to the even neighbour. */
export function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

/** Return the least and the greatest value. */
export function extremes(values: ArrayLike<number>): [number, number] {
  let low = values[0];
  let high = values[0];
  for (let i = 1; i < values.length; i++) {
    const value = values[i];
    if (value < low) low = value;
    if (value > high) high = value;
    if (value !== value) return [NaN, NaN];
  }
  return [low, high];
}

/** Return every `step`-th value of every `step`-th row of (height, width) values: `values[::step, ::step]`. */
export function thinned<T extends Float32Array | Uint8Array>(values: T, width: number, height: number, step: number): Grid<T> {
  const across = Math.ceil(width / step);
  const down = Math.ceil(height / step);
  const thin = new (values.constructor as new (length: number) => T)(across * down);
  for (let y = 0, to = 0; y < height; y += step) {
    for (let x = 0, from = y * width; x < width; x += step, from += step) thin[to++] = values[from];
  }
  return { width: across, height: down, data: thin };
}

/** Values on a grid, row by row. */
export interface Grid<T = Float32Array> {
  width: number;
  height: number;
  data: T;
}
