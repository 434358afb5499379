/** How far apart a DICOM film's pixels lie: `formats/dicom_header.py`. */

import { possibleSpacing } from "../../film_values";
import type { Spacing } from "../../types";
import { asNumber } from "./elements";
import type { DataSet } from "./elements";

const KEYS = ["PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"];
const MOST_OBLONG = 4;
const SAME = 1e-3; // of a spacing: no film is magnified by less, but numbers are rounded
const MOST_MAGNIFIED = 2;

/** Return the spacing in mm, undefined where it is unknown or cannot be that of a film. */
export function spacingOf(data: DataSet, notices: string[]): Spacing | undefined {
  const width = data.whole("Columns");
  const ignored: string[] = [];
  for (const key of KEYS) {
    if (!data.filled(key)) continue;
    const spacing = two(data.values(key));
    if (spacing === undefined || possibleSpacing(spacing, width) === undefined) {
      ignored.push(`The ${key} is not plausible and was ignored`);
      continue;
    }
    notices.push(...ignored.map((sentence) => `${sentence}: ${key} was used instead.`));
    if (key === "PixelSpacing" && !isUncorrected(data, spacing)) return spacing;
    const factor = data.number("EstimatedRadiographicMagnificationFactor");
    if (factor !== undefined && factor > 1 && factor <= MOST_MAGNIFIED) {
      const corrected = { row: spacing.row / factor, column: spacing.column / factor };
      if (possibleSpacing(corrected, width) !== undefined) {
        notices.push(`The spacing was corrected for the magnification of ${Number(factor.toPrecision(6))}.`);
        return corrected;
      }
    }
    notices.push("The spacing is that of the detector: distances in the patient are slightly smaller.");
    return spacing;
  }
  notices.push(...ignored.map((sentence) => `${sentence}: no distances in mm.`));
  return undefined;
}

/** Return how much higher than wide a pixel is, by its spacing, else by PixelAspectRatio; else 1. */
export function aspectOf(data: DataSet): number {
  for (const key of [...KEYS, "PixelAspectRatio"]) {
    const sides = two(data.values(key));
    const aspect = sides && sides.row / sides.column;
    if (aspect !== undefined && aspect >= 1 / MOST_OBLONG && aspect <= MOST_OBLONG) return aspect;
  }
  return 1;
}

/** Tell whether a spacing is the detector's, perhaps with fewer digits. */
function isUncorrected(data: DataSet, spacing: Spacing): boolean {
  if (data.filled("PixelSpacingCalibrationType")) return false;
  const imager = two(data.values("ImagerPixelSpacing"));
  const same = (one: number, other: number): boolean => Math.abs(one - other) <= SAME * Math.max(one, other);
  return imager !== undefined && same(imager.row, spacing.row) && same(imager.column, spacing.column);
}

function two(values: unknown[]): Spacing | undefined {
  const [row, column, ...more] = values.map(asNumber);
  if (row === undefined || column === undefined || more.length > 0) return undefined;
  return row > 0 && row < 1e6 && column > 0 && column < 1e6 ? { row, column } : undefined;
}
