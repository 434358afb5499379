/** Right lung, left lung and heart, and what is measured on them: `bundle/segmentation.py`, `measure/clinical`. */

import { removeSmallComponents } from "./components";
import type { Grid } from "./numeric";
import type { Frame } from "./preprocess";
import type { Edge, Spacing, Structures } from "./types";

const MIRRORED =
  "mirrored-or-dextrocardia: the heart appears on the patient's right; the film may be mirrored, so do not rely on right and left.";

/** What the head says of an embedding: logits (3, n, n), and one of the film being mirrored. */
export interface HeadAnswer {
  planes: Float32Array;
  side: number;
  mirrored: number;
}

/**
 * Return the structures of a film, both lungs as the head alone sees them, and the warning that they raise.
 *
 * @param rightEdge the direction of the patient that the header says is at the image's right.
 * @param limit probability from which on a film counts as mirrored.
 */
export function structuresOf(
  mask: Uint8Array,
  answer: HeadAnswer,
  frame: Frame,
  rightEdge: Edge | undefined,
  limit: number,
  spacing?: Spacing,
): { structures: Structures; lungs: Uint8Array; warnings: string[] } {
  const cells = answer.side * answer.side;
  const plane = (k: number): Grid => ({ width: answer.side, height: answer.side, data: answer.planes.slice(k * cells, (k + 1) * cells) });
  const [atLeft, atRight] = [0, 1].map((k) => frame.logitsToOriginal(plane(k)).data);
  const heart = frame.logitsToOriginal(removeSmallComponents(plane(2), 1)).data;
  const turned = rightEdge === "R"; // the header says that the image's left shows the patient's left
  const probability = 1 / (1 + Math.exp(-answer.mirrored));
  const mirrored = (turned ? 1 - probability : probability) >= limit;
  const fromHeader = rightEdge === "L" || rightEdge === "R";
  const right = new Uint8Array(mask.length);
  const hearts = new Uint8Array(mask.length);
  const lungs = new Uint8Array(mask.length);
  let [rightPx, leftPx, heartPx] = [0, 0, 0];
  for (let i = 0; i < mask.length; i++) {
    lungs[i] = Math.max(atLeft[i], atRight[i]) > 0 ? 1 : 0;
    hearts[i] = heart[i] > 0 ? 1 : 0;
    heartPx += hearts[i];
    if (!mask[i]) continue;
    right[i] = atLeft[i] >= atRight[i] !== turned ? 1 : 0;
    if (right[i]) rightPx++;
    else leftPx++;
  }
  const [height, width] = frame.original;
  const pixel = spacing && spacing.row * spacing.column;
  const structures: Structures = {
    right,
    heart: hearts,
    sidesFrom: fromHeader ? "header" : "standard view",
    sidesCertain: !mirrored,
    standardView: true,
    cardiothoracicRatio: cardiothoracicRatio(hearts, mask, width, height),
    rightPx,
    leftPx,
    heartPx,
    rightMm2: pixel && rightPx * pixel,
    leftMm2: pixel && leftPx * pixel,
  };
  const sure = fromHeader || rightEdge === undefined ? structures : withoutView(structures);
  return { structures: sure, lungs, warnings: mirrored ? [MIRRORED] : [] };
}

/** Return the structures of a film that is no upright frontal one. */
export function withoutView(structures: Structures): Structures {
  return { ...structures, sidesCertain: false, standardView: false, cardiothoracicRatio: undefined };
}

/**
 * Return the greatest width of the heart over the greatest of the chest within one row, from lung to lung;
 * undefined where a structure is missing.
 */
export function cardiothoracicRatio(heart: Uint8Array, lungs: Uint8Array, width: number, height: number): number | undefined {
  let [first, last, chest] = [width, -1, 0];
  for (let cell = 0; cell < width * height; cell++) {
    if (heart[cell]) [first, last] = [Math.min(first, cell % width), Math.max(last, cell % width)];
  }
  const middle = Math.floor((first + last + 1) / 2);
  for (let y = 0; y < height; y++) {
    let [left, right] = [-1, -1];
    for (let x = 0; x < width; x++) {
      if (lungs[y * width + x]) [left, right] = [left < 0 ? x : left, x];
    }
    if (left >= 0 && left < middle && right >= middle) chest = Math.max(chest, right + 1 - left); // else one lung alone
  }
  if (last < 0 || chest === 0) return undefined;
  const ratio = (last + 1 - first) / chest;
  return ratio < 1 ? ratio : undefined;
}
