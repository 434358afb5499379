/** What a segmentation's segments are, in SNOMED CT codes: `dicom_out/regions.py`. */
import type { DicomHeader } from "../../engine/api";
import { label } from "../../engine/components";
import { unpack } from "../bits";
import type { Outlined } from "../types";

export type Code = [value: string, meaning: string];

export const STRUCTURE: Code = ["91723000", "Anatomical Structure"];
const LUNG: Code = ["39607008", "Lung"];
const HEART: Code = ["80891009", "Heart"];
const RIGHT: Code = ["24028007", "Right"];
const LEFT: Code = ["7771000", "Left"];

const PATIENT_ORIENTATION = "00200020";

/** One outlined structure; `mask` (H, W) holds 1 where it is. */
export interface Region {
  label: string;
  kind: Code;
  side?: Code;
  mask: Uint8Array;
}

/** Return the regions of a film's result: each lung where its side is sure, else one lung; and the heart. */
export function regionsOf(header: DicomHeader, result: Outlined): Region[] {
  const { width, height, structures } = result;
  const mask = unpack(result.bits, width * height);
  if (!structures) {
    // a mask that a person asked for, or that is doubtful, need not be a pair of lungs
    const isPair = result.warnings.length === 0 && result.boxSource !== "given" && result.boxSource !== "points";
    return (isPair && halves(mask, width, height, sidesOf(header))) || [one(mask)];
  }
  const right = unpack(structures.rightBits, mask.length);
  const heart = unpack(structures.heartBits, mask.length);
  const sides = [lung(RIGHT, right), lung(LEFT, mask.map((inside, cell) => inside & (right[cell] ^ 1)))];
  const lungs = structures.sidesCertain ? sides.filter((region) => region.mask.includes(1)) : [one(mask)];
  return structures.heartPx ? [...lungs, { label: "Heart", kind: HEART, mask: heart }] : lungs;
}

/** Return what lies at the image's left and at its right, where the header says which side its right edge shows. */
function sidesOf({ elements }: DicomHeader): [Code, Code] | undefined {
  const edge = String(elements[PATIENT_ORIENTATION]?.Value?.[0] ?? "").trim();
  return edge === "L" ? [RIGHT, LEFT] : edge === "R" ? [LEFT, RIGHT] : undefined;
}

/** Divide a mask between its two largest parts, each other part with the nearer; undefined where it has no two. */
function halves(mask: Uint8Array, width: number, height: number, sides?: [Code, Code]): Region[] | undefined {
  if (!sides) return undefined;
  const { labels, components } = label(width, height, (cell) => mask[cell] === 1);
  if (components.length < 2) return undefined;
  const columns = components.map(() => 0);
  for (let cell = 0; cell < labels.length; cell++) if (labels[cell]) columns[labels[cell] - 1] += cell % width;
  const middles = components.map(({ area }, part) => columns[part] / area);
  const largest = components.map((_, part) => part).sort((a, b) => components[b].area - components[a].area);
  const between = (middles[largest[0]] + middles[largest[1]]) / 2;
  const part = (isLeft: boolean): Uint8Array => mask.map((inside, cell) => (inside && middles[labels[cell] - 1] < between === isLeft ? 1 : 0));
  return [lung(sides[0], part(true)), lung(sides[1], part(false))];
}

function lung(side: Code, mask: Uint8Array): Region {
  return { label: `${side[1]} lung`, kind: LUNG, side, mask };
}

function one(mask: Uint8Array): Region {
  return { label: "Lung", kind: LUNG, mask };
}
