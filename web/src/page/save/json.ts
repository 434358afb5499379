/** Results as `adaloraqat segment --json` prints them: the same keys, units and rounding. */
import { bundle } from "../state";
import type { Item, Outlined } from "../types";

export const ENGINE = "onnxruntime-web";

const round = (value: number, digits: number): number => Number(value.toFixed(digits));

/** One film's entry; `mask` is the name of its mask's file, where one is saved beside it. */
export function entryOf(film: Item, mask: string | null = null): Record<string, unknown> {
  const { result } = film;
  const points = film.history.steps[film.history.at].points ?? [];
  const isByPoints = result !== undefined && points.length > 0 && bundle.value?.acceptsPoints;
  const box = result?.box?.map((side) => round(side, 2)) ?? null;
  return {
    path: film.name,
    mask,
    overlay: null,
    dicom: null,
    width: film.width ?? null,
    height: film.height ?? null,
    box,
    box_source: result?.boxSource ?? null,
    prompts: box && [box],
    proposer: null,
    quality: result && !Number.isNaN(result.quality) ? round(result.quality, 4) : null,
    quality_error: result?.qualityError === undefined ? null : round(result.qualityError, 4),
    area_px: result?.areaPx ?? null,
    area_mm2: result?.areaMm2 === undefined ? null : round(result.areaMm2, 2),
    spacing_mm: film.spacing ? [film.spacing.row, film.spacing.column] : null,
    milliseconds: film.milliseconds === undefined ? null : round(film.milliseconds, 2),
    warnings: result?.warnings ?? [],
    notices: result?.notices ?? film.notices,
    error: film.error ?? null,
    labels: null,
    measures: result ? measuresOf(result) : null,
    ...(isByPoints ? { points: points.map(({ x, y, label }) => [x, y, label]) } : {}),
  };
}

/** What is measured on structures, with the shell's keys; null of a model that does not tell them apart. */
function measuresOf({ structures }: Outlined): Record<string, unknown> | null {
  if (!structures) return null;
  const { rightPx, leftPx, rightMm2, leftMm2, standardView, cardiothoracicRatio: ratio } = structures;
  const area = (px: number, mm2: number | undefined): Record<string, number | null> => ({
    area_px: px,
    area_mm2: mm2 === undefined ? null : round(mm2, 2),
    area_cm2: mm2 === undefined ? null : round(mm2 / 100, 2),
  });
  return {
    cardiothoracic_ratio: ratio === undefined ? null : round(ratio, 4),
    right_lung: area(rightPx, rightMm2),
    left_lung: area(leftPx, leftMm2),
    lung_ratio: standardView && leftPx ? round(rightPx / leftPx, 4) : null,
    heart_area_px: structures.heartPx,
    sides_from: structures.sidesFrom,
    sides_certain: structures.sidesCertain,
  };
}

/** The whole document. */
export function documentOf(films: Item[], masks: Map<number, string> = new Map()): Record<string, unknown> {
  return {
    model: bundle.value?.name ?? null,
    outlines: bundle.value?.outlines ?? null,
    engine: ENGINE,
    warnings: [],
    notices: [],
    results: films.map((film) => entryOf(film, film.result ? (masks.get(film.id) ?? null) : null)),
  };
}
