/** Colours of a DICOM film: YBR to RGB in float32, and palettes, as pydicom computes them. */

import type { Numbers } from "../../film_values";
import type { DataSet } from "./elements";

const GREEN_OF_BLUE = Math.fround((-0.114 * 1.772) / 0.587);
const GREEN_OF_RED = Math.fround((-0.299 * 1.402) / 0.587);
const BLUE = Math.fround(1.772);
const RED = Math.fround(1.402);

/** Return RGB of YBR_FULL of 8 bits. */
export function ybrToRgb(values: Uint8Array): Uint8Array {
  if (!(values instanceof Uint8Array)) throw new Error("colours of more than 8 bits");
  const result = new Uint8Array(values.length);
  const whole = (value: number): number => Math.min(255, Math.max(0, Math.floor(Math.fround(Math.fround(value) + 0.5))));
  for (let i = 0; i < values.length; i += 3) {
    const y = values[i];
    const b = values[i + 1] - 128;
    const r = values[i + 2] - 128;
    result[i] = whole(y + Math.fround(r * RED));
    result[i + 1] = whole(Math.fround(y + Math.fround(b * GREEN_OF_BLUE)) + Math.fround(r * GREEN_OF_RED));
    result[i + 2] = whole(y + Math.fround(b * BLUE));
  }
  return result;
}

/** Return the colours (H, W, 3) that a palette gives stored values. */
export function ofPalette(values: Numbers, data: DataSet): Uint8Array | Uint16Array {
  const descriptor = data.values("RedPaletteColorLookupTableDescriptor").map(Number);
  const entries = descriptor[0] || 1 << 16;
  const tables = ["Red", "Green", "Blue"].map((name) => {
    const bytes = data.bytes(`${name}PaletteColorLookupTableData`);
    if (bytes === undefined) throw new Error("no palette");
    return bytes;
  });
  const depth = Math.round((tables[0].length / entries) * 8);
  if (depth !== 8 && depth !== 16) throw new Error("palette");
  const luts = tables.map((bytes) => (depth === 8 ? bytes : new Uint16Array(bytes.slice().buffer)));
  const result = depth === 8 ? new Uint8Array(values.length * 3) : new Uint16Array(values.length * 3);
  for (let i = 0; i < values.length; i++) {
    const place = Math.min(entries - 1, Math.max(0, values[i] - descriptor[1]));
    for (let c = 0; c < 3; c++) result[3 * i + c] = luts[c][place];
  }
  return result;
}
