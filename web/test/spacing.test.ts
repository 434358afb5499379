import { expect, test } from "vitest";

import { DataSet } from "../src/engine/formats/dicom/elements";
import { spacingOf } from "../src/engine/formats/dicom/spacing";

const DETECTOR = "The spacing is that of the detector: distances in the patient are slightly smaller.";

/** Return what is found of elements of one or two numbers in a film 200 pixels wide, and the notices. */
function found(elements: Record<string, number[]>): [row: number | undefined, notices: string[]] {
  const data = new DataSet({}, "1.2.840.10008.1.2.1", true);
  for (const [key, Value] of Object.entries({ Columns: [200], ...elements })) {
    data.set(key, "DS", 0);
    data.element(key)!.Value = Value;
  }
  const notices: string[] = [];
  return [spacingOf(data, notices)?.row, notices];
}

test("a spacing that takes the place of an impossible one says so", () => {
  expect(found({ PixelSpacing: [0.02, 0.02], ImagerPixelSpacing: [2, 2] })).toEqual([
    2,
    ["The PixelSpacing is not plausible and was ignored: ImagerPixelSpacing was used instead.", DETECTOR],
  ]);
  expect(found({ PixelSpacing: [0.02, 0.02], ImagerPixelSpacing: [-1, 2], NominalScannedPixelSpacing: [2, 2] })).toEqual([
    2,
    [
      "The PixelSpacing is not plausible and was ignored: NominalScannedPixelSpacing was used instead.",
      "The ImagerPixelSpacing is not plausible and was ignored: NominalScannedPixelSpacing was used instead.",
      DETECTOR,
    ],
  ]);
  expect(found({ PixelSpacing: [0.02, 0.02] })).toEqual([undefined, ["The PixelSpacing is not plausible and was ignored: no distances in mm."]]);
});

test("the detector's spacing with fewer digits is still the detector's", () => {
  const detector = { ImagerPixelSpacing: [2.0004, 2.0004], EstimatedRadiographicMagnificationFactor: [1.1] };
  expect(found({ PixelSpacing: [2, 2], ...detector })).toEqual([2 / 1.1, ["The spacing was corrected for the magnification of 1.1."]]);
  expect(found({ PixelSpacing: [2, 2], ImagerPixelSpacing: [2.0004, 2.0004] })).toEqual([2, [DETECTOR]]);
  expect(found({ PixelSpacing: [1.98, 1.98], ...detector })).toEqual([1.98, []]);
});
