import { expect, test } from "vitest";

import { DataSet } from "../src/engine/formats/dicom/elements";
import { shownLevels } from "../src/engine/formats/dicom/window";

const levels = Float64Array.from({ length: 4096 }, (_, level) => level);
const counts = levels.map(() => 1);

/** Return a film of 12 bits with a table whose first place is written as an unsigned number. */
function film(key: string, entries: Uint16Array, bits: number, first = 0, intercept?: number): DataSet {
  const table = {
    "00283002": { vr: "US", Value: [entries.length, first & 0xffff, bits] },
    "00283006": { vr: "OW", Value: [entries.slice().buffer] },
  };
  const data = new DataSet({}, "1.2.840.10008.1.2.1", true);
  data.set("PhotometricInterpretation", "CS", "MONOCHROME2");
  data.set("BitsStored", "US", 12);
  data.set("PixelRepresentation", "US", 0);
  data.set(key, "SQ", table);
  if (intercept !== undefined) {
    data.set("RescaleSlope", "DS", 1);
    data.set("RescaleIntercept", "DS", intercept);
  }
  return data;
}

const curve = (bits: number): Uint16Array => Uint16Array.from(levels, (level) => Math.round((level / 4095) ** 0.7 * (2 ** bits - 1)));

function shown(data: DataSet): { grey: number[]; notices: string[] } {
  const notices: string[] = [];
  return { grey: Array.from(shownLevels(data, levels, counts, notices).grey ?? []), notices };
}

test.each([9, 12, 15, 16])("a modality table of %i bits an entry is read", (bits) => {
  expect(shown(film("ModalityLUTSequence", curve(bits), bits))).toEqual({ grey: Array.from(curve(bits)), notices: [] });
});

test.each([
  ["ModalityLUTSequence", 7, "The modality LUT, or the rescale slope and intercept, is unusable and was ignored."],
  ["ModalityLUTSequence", 17, "The modality LUT, or the rescale slope and intercept, is unusable and was ignored."],
  ["VOILUTSequence", 9, "The VOI window or LUT is unusable and was ignored."], // as the standard has it
])("a %s of %i bits an entry is none", (key, bits, notice) => {
  expect(shown(film(key, curve(12), bits))).toEqual({ grey: [], notices: [notice] });
});

test("a table that begins below zero may say so in an unsigned number", () => {
  const data = film("VOILUTSequence", curve(12), 12, -2048, -2048);
  expect(shown(data)).toEqual({ grey: Array.from(curve(12)), notices: [] });
});

test("a table that begins far above zero is left so where nothing lies below", () => {
  const far = Float64Array.from(levels, (level) => 40000 + level);
  const notices: string[] = [];
  const { grey } = shownLevels(film("VOILUTSequence", curve(12), 12, 40000), far, counts, notices);
  expect([Array.from(grey ?? []), notices]).toEqual([Array.from(curve(12)), []]);
});
