/** Films in DICOM files: the stored values as a viewer would show them, and what the header says. */

import type { DicomElements } from "dcmjs";

import { checkSize, luma, scaled, turnedOver } from "../../film_values";
import type { Numbers } from "../../film_values";
import { extremes } from "../../numeric";
import { FilmError } from "../../types";
import type { DicomHeader, Film } from "../../types";
import { ofPalette } from "./colour";
import type { DataSet } from "./elements";
import { checkHoldsFilm } from "./objects";
import { paddingOf } from "./padding";
import { readDataSet } from "./parse";
import { OtherSize, storedValues } from "./pixels";
import type { Stored } from "./pixels";
import { aspectOf, spacingOf } from "./spacing";
import { codingOf, whyUnknown } from "./syntaxes";
import { toldBy } from "./told";
import { shownLevels } from "./window";
import type { Shown } from "./window";

const MOST_LEVELS = 1 << 20;
const HEADER_GROUPS = ["0008", "0010", "0012", "0018", "0020", "0028"];

/** Return the film of a DICOM file, bright = dense as far as the file says. */
export async function decodeDicom(bytes: Uint8Array, name: string): Promise<Film> {
  const data = readDataSet(bytes, name);
  check(data, name);
  const dicom = headerOf(data); // before anything unusable is taken off
  const notices: string[] = [];
  complete(data, notices);
  const stored = await readPixels(data, name, notices);
  const width = data.whole("Columns");
  const height = data.whole("Rows");
  const outside = stored.channels === 1 ? paddingOf(data, stored.words, width, notices) : undefined;
  const { values, windowed } = presented(data, stored, outside, notices);
  const grey = scaled(values, name, windowed); // what no window made has no range but its own, however small
  const spacing = spacingOf(data, notices);
  return { width, height, grey, spacing, format: "DICOM", notices, warnings: [], aspect: aspectOf(data), told: toldBy(data), dicom };
}

function check(data: DataSet, name: string): void {
  checkHoldsFilm(data.text("SOPClassUID"), name);
  const [rows, columns] = [data.whole("Rows"), data.whole("Columns")];
  const frames = data.whole("NumberOfFrames", 1) || 1;
  if (frames === 1) data.flatten();
  if (rows === 0 || columns === 0) throw new FilmError(`${name} holds no DICOM image, or is truncated: give a CR or DX film.`);
  if (frames > 1) throw new FilmError(`${name} holds ${frames} frames: export the one film to segment as a file of its own.`);
  checkSize(name, rows, columns);
  if (data.has("FloatPixelData") || data.has("DoubleFloatPixelData")) {
    throw new FilmError(`${name} holds pixels of floating point, which cannot be read here: use the command \`adaloraqat segment\`.`);
  }
  if (!data.has("PixelData")) throw new FilmError(`${name} has no pixel data: it is truncated or not an image; export or copy it again.`);
}

/** Give the header what it lacks and reading needs: what nearly all films have. */
function complete(data: DataSet, notices: string[]): void {
  const photometric = data.text("PhotometricInterpretation").trim().toUpperCase();
  const colour = photometric.startsWith("RGB") || photometric.startsWith("YBR");
  const samples = data.number("SamplesPerPixel") || (colour ? 3 : 1);
  const usual: [string, string, unknown][] = [
    ["SamplesPerPixel", "US", samples],
    ["PhotometricInterpretation", "CS", samples === 1 ? "MONOCHROME2" : "RGB"],
    ["PixelRepresentation", "US", 0],
    ["BitsStored", "US", data.number("BitsAllocated")],
  ];
  const missing = usual.filter(([key]) => !data.filled(key));
  for (const [key, vr, value] of missing) data.set(key, vr, value);
  if (missing.length > 0) notices.push(`The header lacks ${missing.map(([key]) => key).join(", ")}: the usual was assumed.`);
  if (photometric) data.set("PhotometricInterpretation", "CS", photometric);
}

/** Return stored values, of colours their grey. */
async function readPixels(data: DataSet, name: string, notices: string[]): Promise<Stored> {
  const known = codingOf(data.syntax);
  if (known === undefined) {
    throw new FilmError(`${name} cannot be read: ${whyUnknown(data.syntax)}; export it uncompressed or as JPEG 2000 or PNG.`);
  }
  const channels = data.whole("SamplesPerPixel", 1) || 1;
  try {
    if (channels !== 1 && channels !== 3) throw new Error(`${channels} channels`);
    const stored = await storedValues(data, known.coding, notices);
    if (data.text("PhotometricInterpretation") === "PALETTE COLOR") {
      const values = luma(ofPalette(stored.values, data));
      return { values, channels: 3, words: values };
    }
    return channels === 1 ? stored : { ...stored, values: luma(stored.values) };
  } catch (error) {
    if (error instanceof FilmError) throw error;
    if (error instanceof OtherSize) throw new FilmError(`${name} holds pixels of another size than its header says: export or copy it again.`);
    const reason =
      known.coding === "native"
        ? "its pixel data are incomplete or do not fit its header; export or copy it again"
        : `its pixels (${known.title}) cannot be decoded; export it uncompressed or as JPEG 2000 or PNG`;
    throw new FilmError(`${name} cannot be read: ${reason}.`);
  }
}

/** Return values with bright = dense as the tags say, and whether a window or VOI LUT made them; padding is black. */
function presented(data: DataSet, stored: Stored, outside: Uint8Array | undefined, notices: string[]): { values: Numbers; windowed: boolean } {
  const { grey, windowed } = shown(data, stored.values, outside, notices);
  let values: Numbers = grey ?? stored.values;
  if (outside) values = filled(values, outside, leastInside(values, outside)); // padding is not a grey of the film
  if (data.text("PhotometricInterpretation") === "MONOCHROME1") {
    values = turnedOver(values);
    if (outside) values = filled(values, outside, extremes(values)[0]);
  }
  return { values, windowed };
}

function shown(data: DataSet, stored: Numbers, outside: Uint8Array | undefined, notices: string[]): Shown {
  const { levels, counts, place } = levelsOf(stored, outside);
  const found = shownLevels(data, levels, counts, notices);
  if (found.grey === undefined) return found;
  const grey = new Float32Array(stored.length);
  for (let i = 0; i < grey.length; i++) grey[i] = found.grey[place(stored[i])];
  return { ...found, grey };
}

/** Return the grey levels, rising, how many pixels inside have each, and where a stored value is among them. */
function levelsOf(stored: Numbers, outside: Uint8Array | undefined): { levels: Float64Array; counts: Float64Array; place: (value: number) => number } {
  const [low, high] = extremes(stored);
  const whole = !(stored instanceof Float32Array || stored instanceof Float64Array);
  let levels: Float64Array;
  let place = (value: number): number => value - low;
  if (whole && high - low < MOST_LEVELS) {
    levels = Float64Array.from({ length: high - low + 1 }, (_, i) => low + i);
  } else {
    levels = Float64Array.from(new Set(stored)).sort();
    const places = new Map(Array.from(levels, (level, i) => [level, i]));
    place = (value) => places.get(value) as number;
  }
  const counts = new Float64Array(levels.length);
  for (let i = 0; i < stored.length; i++) if (!outside?.[i]) counts[place(stored[i])]++;
  return { levels, counts, place };
}

function leastInside(values: Numbers, outside: Uint8Array): number {
  let least = Infinity;
  for (let i = 0; i < values.length; i++) if (!outside[i] && values[i] < least) least = values[i];
  return least;
}

function filled(values: Numbers, outside: Uint8Array, value: number): Numbers {
  return (values as Float32Array).map((own, i) => (outside[i] ? value : own));
}

/** Return what results take from the header, as plain data. */
function headerOf(data: DataSet): DicomHeader {
  const elements: DicomHeader["elements"] = {};
  for (const [tag, element] of Object.entries(data.elements)) {
    if (HEADER_GROUPS.includes(tag.slice(0, 4))) elements[tag] = plain(element);
  }
  return { transferSyntax: data.syntax, elements };
}

function plain({ vr, Value }: DicomElements[string]): DicomHeader["elements"][string] {
  if (vr === "SQ") {
    const items = (Value ?? []) as DicomElements[];
    return { vr, Value: items.map((item) => Object.fromEntries(Object.entries(item).map(([tag, own]) => [tag, plain(own)]))) };
  }
  const values = (Value ?? []).map((value) => (value instanceof ArrayBuffer ? value : (JSON.parse(JSON.stringify(value ?? null)) as unknown)));
  return { vr, Value: values };
}
