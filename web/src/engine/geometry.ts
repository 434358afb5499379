/** Boxes and points on the film's grid: `radiograph/geometry.py` and `bundle/prompts.py`. */

import type { Frame } from "./preprocess";
import { FilmError } from "./types";
import type { Prompt } from "./types";

export type Box = [number, number, number, number];

const BOX_LABELS = [2, 3];
const NO_POINT = -1;

/** Return the box clipped to a film; refused where it is inverted, empty or outside. */
export function checkedBox(box: readonly number[], width: number, height: number): Box {
  const text = `(${box.map(short).join(", ")})`;
  if (box.length !== 4 || !box.every(Number.isFinite)) {
    throw new FilmError(`The box ${text} is not made of finite numbers: give x_min y_min x_max y_max in pixels.`);
  }
  const [left, top, right, bottom] = box;
  if (left >= right || top >= bottom) {
    throw new FilmError(`The box ${text} is inverted or empty: give x_min y_min x_max y_max in this order.`);
  }
  const clipped: Box = [Math.max(0, left), Math.max(0, top), Math.min(width, right), Math.min(height, bottom)];
  if (clipped[0] >= clipped[2] || clipped[1] >= clipped[3]) {
    throw new FilmError(`The box ${text} lies outside the film of ${width} x ${height} pixels: give pixels of the original film.`);
  }
  return clipped;
}

/** What a decoder graph takes beside the embedding. */
export interface Tokens {
  places: Float32Array;
  /** Without labels `places` are a box. */
  labels?: BigInt64Array;
}

/** Return x, y in model pixels and labels: points first, then the box's corners, or SAM's empty point without a box. */
export function pointTokens(frame: Frame, points: NonNullable<Prompt["points"]>, box: Box | undefined): Tokens {
  const [height, width] = frame.original;
  for (const { x, y, label } of points) {
    if (!(x >= 0 && x < width && y >= 0 && y < height)) {
      throw new FilmError(
        `The point (${short(x)}, ${short(y)}) lies outside the film of ${width} x ${height} pixels: give pixels of the original film, counted from 0.`,
      );
    }
    if (label !== 0 && label !== 1) {
      throw new FilmError(`The label ${String(label)} is neither 0 nor 1: give 1 for a point inside the target, 0 for one outside.`);
    }
  }
  const places = frame.toModel(points.flatMap(({ x, y }) => [x, y]));
  const corners = box ? [...frame.toModel(box)] : [0, 0];
  const labels = [...points.map(({ label }) => label), ...(box ? BOX_LABELS : [NO_POINT])];
  return { places: Float32Array.from([...places, ...corners]), labels: BigInt64Array.from(labels.map(BigInt)) };
}

/** Python's `{:g}`. */
function short(value: number): string {
  return Number.isFinite(value) ? String(Number(value.toPrecision(6))) : String(value);
}
