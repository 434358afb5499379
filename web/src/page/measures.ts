/** What a result measures, as rows of the page. Whatever further structures a result holds gets its row here. */
import type { Outlined } from "./types";
import { count, seconds } from "./words";

export interface Measure {
  name: string;
  value: string;
  more?: string;
}

const SOURCES: Record<string, string> = {
  given: "your box",
  points: "your points",
  "whole film": "the model itself",
  "second pass": "the model itself, in two passes",
};

/** Return the rows for a result; `milliseconds` is what the film took from its file to the first outline. */
export function measures(result: Outlined, milliseconds: number | undefined): Measure[] {
  const pixels = `${count(result.areaPx)} px`;
  const ofFilm = `${((100 * result.areaPx) / (result.width * result.height)).toFixed(1)} % of the film`;
  const rows: Measure[] =
    result.areaMm2 === undefined
      ? [{ name: "Area", value: pixels, more: ofFilm }]
      : [{ name: "Area", value: `${(result.areaMm2 / 100).toFixed(1)} cm²`, more: `${pixels}, ${ofFilm}` }];
  if (result.areaMm2 === undefined) rows.push({ name: "Size", value: "unknown", more: "the film does not tell how large a pixel is" });
  rows.push(...further(result));
  rows.push({ name: "Outlined by", value: SOURCES[result.boxSource] ?? result.boxSource });
  if (milliseconds !== undefined) rows.push({ name: "Time", value: seconds(milliseconds), more: "from the file to the outline" });
  return rows;
}

/** Right and left lung, heart and cardiothoracic ratio, of models that tell them apart. */
function further({ structures }: Outlined): Measure[] {
  if (!structures) return [];
  const { sidesCertain, standardView, cardiothoracicRatio, rightPx, leftPx, rightMm2, leftMm2, heartPx } = structures;
  const size = (px: number, mm2: number | undefined): string => (mm2 === undefined ? `${count(px)} px` : `${(mm2 / 100).toFixed(1)} cm²`);
  const why = standardView ? "the film may be mirrored" : "the film is no upright frontal one";
  const more = sidesCertain ? {} : { more: `uncertain: ${why}` };
  const rows: Measure[] = [
    { name: "Right lung", value: size(rightPx, rightMm2), ...more },
    { name: "Left lung", value: size(leftPx, leftMm2), ...more },
  ];
  if (heartPx === 0) return rows;
  const ratio = cardiothoracicRatio === undefined ? "–" : cardiothoracicRatio.toFixed(2);
  return [...rows, { name: "Heart / chest", value: ratio, more: "cardiothoracic ratio" }];
}
