/** From the film to the network's input and back: `radiograph/preprocess.py`. */

import { extremes, percentiles, roundHalfEven, thinned } from "./numeric";
import type { Grid } from "./numeric";
import { resizeBilinear } from "./resample";
import { BundleError } from "./types";
import type { FrameData } from "./types";

const SMALLEST_RANGE = 1e-8;
const SAMPLE = 1 << 16; // pixels that a percentile is read from

/** `preprocessing` of a bundle.json. */
export interface Preprocessing {
  image_size: number;
  channels: number;
  percentile_low: number;
  percentile_high: number;
  mean: number[];
  std: number[];
  grey_range?: "percentiles" | "min-max" | "fixed";
}

/** Where a film lies on the model's square: at the top left, padded right and bottom. */
export class Frame implements FrameData {
  constructor(
    readonly original: [number, number],
    readonly resized: [number, number],
    readonly imageSize: number,
  ) {}

  static of(height: number, width: number, imageSize: number, aspect = 1): Frame {
    const sides = [height * aspect, width];
    const scale = imageSize / Math.max(...sides);
    const [h, w] = sides.map((side) => Math.max(1, roundHalfEven(side * scale)));
    return new Frame([height, width], [h, w], imageSize);
  }

  static from(data: FrameData): Frame {
    return new Frame(data.original, data.resized, data.imageSize);
  }

  /** Model pixels a pixel of the film: x, y. */
  get scale(): [number, number] {
    return [this.resized[1] / this.original[1], this.resized[0] / this.original[0]];
  }

  /** Return x, y, x, y, ... in model pixels of the same on the film. */
  toModel(places: ArrayLike<number>): Float32Array {
    return Float32Array.from(places, (place, i) => place * this.scale[i % 2]);
  }

  /** Return x, y, x, y, ... on the film of the same in model pixels. */
  toOriginal(places: ArrayLike<number>): number[] {
    return Array.from(places, (place, i) => place / this.scale[i % 2]);
  }

  /** Return (H, W) logits on the film's grid of (n, n) logits over the square: one bilinear resize. */
  logitsToOriginal(logits: Grid): Grid {
    const [height, width] = this.original;
    const grid = logits.height / this.imageSize;
    const [across, down] = [this.resized[1] * grid, this.resized[0] * grid];
    return resizeBilinear(logits, width, height, [0, 0, across, down]);
  }

  /** Resize (H, W) with antialiasing and lay it on a square of zeros. */
  place(pixels: Grid): Float32Array {
    const [height, width] = this.resized;
    const small = resizeBilinear(pixels, width, height).data;
    const square = new Float32Array(this.imageSize * this.imageSize);
    for (let y = 0; y < height; y++) square.set(small.subarray(y * width, (y + 1) * width), y * this.imageSize);
    return square;
  }
}

/** Return the network's input (C, S, S) of a film in [0, 1], and where the film lies in it. */
export function preprocess(own: Preprocessing, pixels: Grid, aspect = 1): { image: Float32Array; frame: Frame } {
  const frame = Frame.of(pixels.height, pixels.width, own.image_size, aspect);
  const range = own.grey_range ?? "percentiles";
  const square = frame.place(range === "percentiles" ? stretch(own, pixels) : pixels);
  if (range === "min-max") spanToOne(square, frame);
  return { image: normalise(own, square, frame), frame };
}

/** Refuse what `preprocess` does not know, so that no film is prepared in another way than the model's. */
export function checkPreprocessing(own: Preprocessing, name: string): void {
  const { mean, std, grey_range: range = "percentiles" } = own;
  const usable =
    [own.image_size, own.channels, own.percentile_low, own.percentile_high].every((n) => Number.isFinite(n)) &&
    [mean, std].every((list) => Array.isArray(list) && (list.length === 1 || list.length === own.channels)) &&
    ["percentiles", "min-max", "fixed"].includes(range);
  if (!usable) {
    throw new BundleError(`The bundle '${name}' is damaged: 'preprocessing' in its bundle.json is not valid; copy or export it again.`);
  }
}

function stretch(own: Preprocessing, pixels: Grid): Grid {
  const { width, height, data } = pixels;
  const step = Math.max(1, Math.floor(Math.sqrt(Math.floor(data.length / SAMPLE))));
  const sample = thinned(data, width, height, step).data;
  let [low, high] = percentiles(sample, [own.percentile_low, own.percentile_high]);
  if (!(high > low)) [low, high] = extremes(data); // almost constant: what is left of its range
  const result = new Float32Array(data.length);
  if (!(high > low)) return { width, height, data: result };
  const [least, most, span] = [low, high, high - low].map(Math.fround);
  for (let i = 0; i < data.length; i++) {
    const clipped = Math.min(Math.max(data[i], least), most);
    result[i] = Math.min(1, Math.max(0, Math.fround(Math.fround(clipped - least) / span)));
  }
  return { width, height, data: result };
}

/** Stretch the film on its square from its least to its greatest value, in place. */
function spanToOne(square: Float32Array, frame: Frame): void {
  const [height, width] = frame.resized;
  const side = frame.imageSize;
  const rows = Array.from({ length: height }, (_, y) => square.subarray(y * side, y * side + width));
  const low = Math.min(...rows.map((row) => extremes(row)[0]));
  for (const row of rows) for (let x = 0; x < width; x++) row[x] -= low;
  const high = Math.fround(Math.max(SMALLEST_RANGE, ...rows.map((row) => extremes(row)[1])));
  for (const row of rows) for (let x = 0; x < width; x++) row[x] /= high;
}

function normalise(own: Preprocessing, square: Float32Array, frame: Frame): Float32Array {
  const [height, width] = frame.resized;
  const side = own.image_size;
  const image = new Float32Array(own.channels * side * side);
  for (let channel = 0; channel < own.channels; channel++) {
    const mean = Math.fround(own.mean[channel % own.mean.length]);
    const std = Math.fround(own.std[channel % own.std.length]);
    for (let y = 0; y < height; y++) {
      const from = y * side;
      const to = channel * side * side + from;
      for (let x = 0; x < width; x++) image[to + x] = Math.fround(square[from + x] - mean) / std;
    }
  }
  return image;
}
