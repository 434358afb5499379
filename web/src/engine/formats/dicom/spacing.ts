/** How far apart a DICOM film's pixels lie: `formats/dicom_header.py`. */

import { possibleSpacing } from "../../film_values";
import type { Spacing } from "../../types";
import { asNumber } from "./elements";
import type { DataSet } from "./elements";

const KEYS = ["PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"];
const MOST_OBLONG = 4;
const MOST_MAGNIFIED = 2;

/** Return the spacing in mm, undefined where it is unknown or cannot be that of a film. */
export function spacingOf(data: DataSet, notices: string[]): Spacing | undefined {
  const width = data.whole("Columns");
  for (const key of KEYS) {
    if (!data.filled(key)) continue;
    const spacing = two(data.values(key));
    if (spacing === undefined || possibleSpacing(spacing, width) === undefined) {
      notices.push(`The ${key} is not plausible and was ignored: no distances in mm.`);
      continue;
    }
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

function isUncorrected(data: DataSet, spacing: Spacing): boolean {
  if (data.filled("PixelSpacingCalibrationType")) return false;
  const imager = two(data.values("ImagerPixelSpacing"));
  return imager !== undefined && imager.row === spacing.row && imager.column === spacing.column;
}

function two(values: unknown[]): Spacing | undefined {
  const [row, column, ...more] = values.map(asNumber);
  if (row === undefined || column === undefined || more.length > 0) return undefined;
  return row > 0 && row < 1e6 && column > 0 && column < 1e6 ? { row, column } : undefined;
}
