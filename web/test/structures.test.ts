import { expect, test } from "vitest";

import { isOtherView } from "../src/engine/plausibility";
import { Frame } from "../src/engine/preprocess";
import { cardiothoracicRatio, structuresOf } from "../src/engine/structures";
import { documentOf } from "../src/page/save/json";
import { regionsOf } from "../src/page/save/regions";
import { measures } from "../src/page/measures";
import { pack } from "../src/page/bits";
import type { Item, Outlined } from "../src/page/types";
import type { Edge } from "../src/engine/types";

const SIDE = 8;
const inside = (x0: number, x1: number) => Float32Array.from({ length: SIDE * SIDE }, (_, i) => (i % SIDE >= x0 && i % SIDE < x1 ? 5 : -5));
const planes = Float32Array.of(...inside(0, 3), ...inside(5, 8), ...inside(3, 6));
const mask = Uint8Array.from(inside(0, 3), (value, i) => (value > 0 || planes[SIDE * SIDE + i] > 0 ? 1 : 0));

function found(rightEdge?: Edge, mirrored = -5) {
  const frame = Frame.from({ original: [SIDE, SIDE], resized: [SIDE, SIDE], imageSize: SIDE });
  return structuresOf(mask, { planes, side: SIDE, mirrored }, frame, rightEdge, 0.5);
}

function outlined(rightEdge?: Edge, mirrored = -5): Outlined {
  const { structures, warnings } = found(rightEdge, mirrored);
  const { right, heart, ...rest } = structures;
  return {
    ...{ width: SIDE, height: SIDE, bits: pack(mask), quality: NaN, boxSource: "whole film", areaPx: 48, warnings, notices: [], seconds: 0 },
    structures: { ...rest, rightBits: pack(right), heartBits: pack(heart) },
  };
}

const labels = (edge?: Edge, mirrored?: number) => regionsOf({ transferSyntax: "", elements: {} }, outlined(edge, mirrored)).map(({ label }) => label);

test("an edge that is no side of the patient leaves neither sides nor ratios", () => {
  expect(found("L").structures).toMatchObject({ sidesFrom: "header", sidesCertain: true, standardView: true, cardiothoracicRatio: 3 / 8 });
  for (const edge of ["A", "P", "H", "F"] as const) {
    const { structures, warnings } = found(edge);
    expect(structures).toMatchObject({ sidesFrom: "standard view", sidesCertain: false, standardView: false });
    expect([structures.cardiothoracicRatio, warnings]).toEqual([undefined, []]);
  }
  expect(found(undefined, 5).structures).toMatchObject({ sidesCertain: false, standardView: true, cardiothoracicRatio: 3 / 8 }); // mirrored
});

test("one lung alone is no chest", () => {
  const heart = Uint8Array.from(inside(3, 5), (value) => Number(value > 0));
  const lung = (x0: number, x1: number) => Uint8Array.from(inside(x0, x1), (value) => Number(value > 0));
  for (const alone of [lung(0, 3), lung(5, 8)]) expect(cardiothoracicRatio(heart, alone, SIDE, SIDE)).toBeUndefined();
  expect(cardiothoracicRatio(heart, mask, SIDE, SIDE)).toBe(2 / 8);
  const apart = mask.map((value, i) => (i % SIDE < 4 === i < 4 * SIDE ? value : 0)); // they share no row
  expect(cardiothoracicRatio(heart, apart, SIDE, SIDE)).toBeUndefined();
});

test("without sides the segments are one lung and the heart", () => {
  expect(labels("L")).toEqual(["Right lung", "Left lung", "Heart"]);
  expect(labels("P")).toEqual(["Lung", "Heart"]);
});

test("the page says why sides are uncertain, and shows and saves no ratio", () => {
  const rows = (edge?: Edge, mirrored?: number) => Object.fromEntries(measures(outlined(edge, mirrored), undefined).map((row) => [row.name, row]));
  expect(rows("L")["Heart / chest"].value).toBe("0.38");
  expect(rows("L", 5)["Right lung"].more).toBe("uncertain: the film may be mirrored");
  expect(rows("H")["Right lung"].more).toBe("uncertain: the film is no upright frontal one");
  expect(rows("H")["Heart / chest"].value).toBe("–");
  const saved = (edge: Edge) => {
    const item = { name: "a.dcm", notices: [], history: { steps: [{}], at: 0 }, result: outlined(edge) } as unknown as Item;
    return (documentOf([item]).results as { measures: Record<string, unknown> }[])[0].measures;
  };
  expect(saved("L")).toMatchObject({ cardiothoracic_ratio: 0.375, lung_ratio: 1, sides_certain: true });
  expect(saved("H")).toMatchObject({ cardiothoracic_ratio: null, lung_ratio: null, sides_certain: false });
});

test("warnings of the film that speak of another view", () => {
  expect(["blank-film", "upside-down", "lateral", "oblique", "not-a-chest", "on-its-side"].every((code) => isOtherView([`${code}: so.`]))).toBe(true);
  expect(isOtherView(["tiny-film: so.", "odd-shape: so.", "mirrored-or-dextrocardia: so.", "cut-off: lateral"])).toBe(false);
});
