/** Is this a chest film, and is this a pair of lungs? The rules and limits of `bundle/plausibility.py`. */

import { connectedComponents } from "./components";
import type { Component } from "./components";
import type { Box } from "./geometry";
import { looksOnItsSide, looksUpsideDown } from "./inverted";
import { percentiles, roundHalfEven, thinned } from "./numeric";
import type { Grid } from "./numeric";
import type { Film, Told } from "./types";

const THUMBNAIL = 128;
const BLANK_DEVIATION = 0.005;
const TINY_SIDE = 64;
const ASPECT_MAX = 2.5;
const AREA_MIN = 0.07;
const AREA_MAX = 0.68;
const PART_MIN = 0.05;
const SIDE_TOUCHED_MAX = 0.5;
const SMALLER_PART_MIN = 0.2;
const SEPARATION_MIN = 0.2;
const OVERLAP_MIN = 0.6;
const BRIGHTER_MAX = 0.05;
const QUALITY_MIN = 0.8;
const DICE_MIN = 0.9; // expected Dice
const UNDECIDED = [0.25, 0.75];
const OUTSIDE_MAX = 0.3;
const UNDECIDED_MAX = 0.35;
/** The warnings of a film on which right, left and widths mean something else than on an upright frontal one. */
const NO_STANDARD_VIEW = ["blank-film", "upside-down", "lateral", "oblique", "not-a-chest", "on-its-side"];

/** What the rules about the film look at: its thumbnail, its whole size, and what its header says. */
export interface Seen {
  pixels: Grid;
  shape: [number, number];
  told: Told | undefined;
}

interface Answer extends Seen {
  mask: Grid<Uint8Array>;
  probability: Float32Array;
  quality: number;
  components: Component[];
  outside: number;
  covered: number; // cells of the mask
}

/** Return the film thinned to what the rules look at, and by how much. */
export function thumbnailOf(film: Film): { width: number; height: number; step: number; grey: Float32Array } {
  const step = Math.max(1, Math.ceil(Math.max(film.width, film.height) / THUMBNAIL));
  const { width, height, data } = thinned(film.grey, film.width, film.height, step);
  return { width, height, step, grey: data };
}

/** Return the warnings about the film alone, "code: sentence" each. */
export function filmWarnings(seen: Seen): string[] {
  const small = Math.min(...seen.shape) < TINY_SIDE;
  const found: string[] = [];
  const warn = (applies: boolean, text: string): void => void (applies && found.push(text));
  warn(deviation(seen.pixels.data) < BLANK_DEVIATION, "blank-film: the film is almost uniform; check that it was exported with its image.");
  warn(small, `tiny-film: the shorter side has fewer than ${TINY_SIDE} pixels; use the full-size film.`);
  warn(
    Math.max(...seen.shape) > ASPECT_MAX * Math.min(...seen.shape),
    "odd-shape: the film is very long or very wide; is it a single chest film?",
  );
  warn(
    !small && looksUpsideDown(seen.pixels),
    "upside-down: the film looks like a chest film turned upside down; rotate it and try again.",
  );
  const view = seen.told?.view;
  warn(view === "lateral", "lateral: the header says that this is a lateral film; the model is made for frontal films.");
  warn(view === "oblique", "oblique: the header says that this is an oblique film; the model is made for frontal films.");
  const part = seen.told?.bodyPart;
  warn(part !== undefined, `not-a-chest: the header says that the film shows another part of the body (${part}).`);
  const lying = seen.told?.onItsSide ?? false;
  warn(lying, "on-its-side: the header says that the film lies on its side; rotate it and try again.");
  warn(
    !lying && !small && looksOnItsSide(seen.pixels),
    "on-its-side: the film looks like a chest film that lies on its side; rotate it and try again.",
  );
  return found;
}

/** Tell whether one of the warnings speaks of another view than an upright frontal one. */
export function isOtherView(warnings: string[]): boolean {
  return warnings.some((said) => NO_STANDARD_VIEW.includes(said.split(":")[0]));
}

/**
 * Return the warnings about a mask, "code: sentence" each.
 *
 * @param logits on the film's grid; the mask is where they are positive.
 * @param quality predicted IoU, NaN where the model has none.
 * @param box the prompt that was given; without one both lungs are expected.
 * @param error of an expected Dice; undefined where `quality` is the predicted IoU.
 */
export function maskWarnings(seen: Seen, step: number, logits: Grid, mask: Uint8Array, quality: number, box?: Box, error?: number): string[] {
  if (!mask.includes(1)) return ["empty-mask: no lung was found; check the film, and give a box if it shows lungs."];
  const answer = seenAnswer(seen, step, logits, mask, quality, box);
  const found: string[] = [];
  const warn = (applies: boolean, text: string): void => void (applies && found.push(text));
  const [measure, least] = error === undefined ? ["IoU", QUALITY_MIN] : ["Dice", DICE_MIN];
  warn(quality < least, `low-quality: the expected overlap (${measure}) is only ${quality.toFixed(2)}; check the mask.`);
  warn(isUndecided(answer), "undecided: the model is unsure about a large part of the film; check the mask.");
  warn(runsAlongASide(answer.mask), "cut-off: the mask runs along an edge of the film, which may be cropped or rotated.");
  warn(
    answer.outside > OUTSIDE_MAX,
    `outside-box: ${share(answer.outside)} of the mask lies outside the given box; does the box enclose the whole lung?`,
  );
  if (box) return found;
  const area = answer.covered / answer.mask.data.length;
  const parts = answer.components.length;
  warn(area < AREA_MIN, `odd-area: ${share(area)} of the film is outlined, little for a pair of lungs; check the mask.`);
  warn(area > AREA_MAX, `odd-area: ${share(area)} of the film is outlined, a lot for a pair of lungs; check the mask.`);
  warn(parts < 2, "one-part: the mask is one region instead of two; check the mask.");
  warn(parts > 2, `many-parts: the mask has ${parts} regions instead of two; check the mask.`);
  warn(isNoPair(answer), "not-a-pair: the two regions are not arranged like two lungs; is this a frontal chest film?");
  warn(isBright(answer), "bright-lungs: the mask is brighter than its surroundings; is the film inverted, or not a chest film?");
  return found;
}

function seenAnswer(seen: Seen, step: number, logits: Grid, mask: Uint8Array, quality: number, box?: Box): Answer {
  const thin = thinned(mask, logits.width, logits.height, step);
  const covered = count(thin.data, (value) => value === 1);
  const parts = connectedComponents(thin.width, thin.height, (cell) => thin.data[cell] === 1);
  return {
    ...seen,
    mask: thin,
    probability: thinned(logits.data, logits.width, logits.height, step).data.map((x) => 1 / (1 + Math.exp(-x))),
    quality,
    covered,
    components: parts.filter(({ area }) => area >= PART_MIN * covered),
    outside: box ? shareOutside(mask, logits.width, logits.height, box) : 0,
  };
}

function shareOutside(mask: Uint8Array, width: number, height: number, box: Box): number {
  const [left, top, right, bottom] = box.map((edge) => Math.max(0, roundHalfEven(edge)));
  let [total, inside] = [0, 0];
  for (let y = 0, cell = 0; y < height; y++) {
    for (let x = 0; x < width; x++, cell++) {
      if (mask[cell] !== 1) continue;
      total++;
      if (x >= left && x < right && y >= top && y < bottom) inside++;
    }
  }
  return total ? 1 - inside / total : 0;
}

function isUndecided({ probability, covered }: Answer): boolean {
  const undecided = count(probability, (value) => value > UNDECIDED[0] && value < UNDECIDED[1]);
  return undecided > UNDECIDED_MAX * Math.max(1, covered);
}

function runsAlongASide({ width, height, data }: Grid<Uint8Array>): boolean {
  let [top, bottom, left, right] = [0, 0, 0, 0];
  for (let x = 0; x < width; x++) [top, bottom] = [top + data[x], bottom + data[(height - 1) * width + x]];
  for (let y = 0; y < height; y++) [left, right] = [left + data[y * width], right + data[(y + 1) * width - 1]];
  return Math.max(top / width, bottom / width, left / height, right / height) > SIDE_TOUCHED_MAX;
}

function isNoPair({ components, mask }: Answer): boolean {
  if (components.length < 2) return false;
  const [first, second] = components;
  const centre = ({ box }: Component): number => (box[0] + box[2]) / 2;
  const height = ({ box }: Component): number => box[3] - box[1];
  const apart = Math.abs(centre(first) - centre(second)) / mask.width;
  const shared = Math.min(first.box[3], second.box[3]) - Math.max(first.box[1], second.box[1]);
  const lower = Math.min(height(first), height(second));
  const alike = second.area >= SMALLER_PART_MIN * first.area;
  return !(alike && apart >= SEPARATION_MIN && shared >= OVERLAP_MIN * lower);
}

function isBright({ pixels, mask }: Answer): boolean {
  const [low, high] = percentiles(pixels.data, [1, 99]);
  let [left, top, right, bottom] = [mask.width, mask.height, -1, -1];
  for (let y = 0, cell = 0; y < mask.height; y++) {
    for (let x = 0; x < mask.width; x++, cell++) {
      if (mask.data[cell] !== 1) continue;
      [left, right, top, bottom] = [Math.min(left, x), Math.max(right, x), Math.min(top, y), Math.max(bottom, y)];
    }
  }
  if (high <= low || right < 0) return false;
  const sums = [0, 0];
  const counts = [0, 0];
  for (let y = top; y <= bottom; y++) {
    for (let x = left; x <= right; x++) {
      const cell = y * mask.width + x;
      const side = mask.data[cell];
      sums[side] += Math.min(1, Math.max(0, (pixels.data[cell] - low) / (high - low)));
      counts[side]++;
    }
  }
  return counts[0] > 0 && sums[1] / counts[1] - sums[0] / counts[0] > BRIGHTER_MAX;
}

function deviation(values: Float32Array): number {
  let sum = 0;
  for (const value of values) sum += value;
  const mean = sum / values.length;
  let squares = 0;
  for (const value of values) squares += (value - mean) ** 2;
  return Math.sqrt(squares / values.length);
}

function count(values: Float32Array | Uint8Array, holds: (value: number) => boolean): number {
  let found = 0;
  for (const value of values) if (holds(value)) found++;
  return found;
}

/** Python's `{:.0%}`. */
function share(value: number): string {
  return `${roundHalfEven(value * 100)}%`;
}
