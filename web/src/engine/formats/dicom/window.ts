/**
 * What each stored grey level is shown as: modality LUT or rescale, then VOI LUT or window (DICOM PS3.3 C.11), in
 * float64 as pydicom computes them; and which of them hide the film. `formats/dicom_views.py`.
 */

import { roundHalfEven } from "../../numeric";
import { Unusable } from "./elements";
import type { DataSet } from "./elements";

// how much of the film a window may clip
const MOST_DARK = 0.4;
const MOST_BRIGHT = 0.35;
const MOST_BOTH = 0.5;
const CLIPPED = 0.002;
const LEAST_SPAN = 0.1;
const FAR = Float64Array.of(-1e12, 1e12); // below and above any window

const UNUSABLE_VIEW = "The VOI window or LUT is unusable and was ignored.";
const UNUSABLE_MODALITY = "The modality LUT, or the rescale slope and intercept, is unusable and was ignored.";

/** What each level is shown as, undefined where it is shown as it is stored; and whether a window or VOI LUT made it. */
export interface Shown {
  grey?: Float32Array;
  windowed: boolean;
}

export function shownLevels(data: DataSet, levels: Float64Array, counts: Float64Array, notices: string[]): Shown {
  const modality = modalityOf(data, levels, counts, notices);
  const view = interestOf(data, modality, counts, notices);
  if (view !== undefined) return { grey: Float32Array.from(view), windowed: true };
  return { grey: modality === levels ? undefined : Float32Array.from(modality), windowed: false };
}

/** A table that is shorter than the film's range, or of one value, clips the film as a window can. */
function modalityOf(data: DataSet, levels: Float64Array, counts: Float64Array, notices: string[]): Float64Array {
  try {
    if (data.filled("ModalityLUTSequence")) {
      const shown = throughTable(levels, tableOf(data, "ModalityLUTSequence", 0, levels));
      const fault = faultOf(shown, endsOf(shown), counts, data);
      if (fault !== undefined) throw new Unusable(fault);
      return shown;
    }
    const rescale = data.pair("RescaleSlope", "RescaleIntercept");
    if (rescale?.[0] === 0) throw new Unusable("a slope that makes all values one");
    if (rescale === undefined || (rescale[0] === 1 && rescale[1] === 0)) return levels;
    return levels.map((level) => level * rescale[0] + rescale[1]);
  } catch {
    notices.push(UNUSABLE_MODALITY);
    for (const key of ["ModalityLUTSequence", "RescaleSlope", "RescaleIntercept"]) data.remove(key);
    return levels;
  }
}

function interestOf(data: DataSet, values: Float64Array, counts: Float64Array, notices: string[]): Float64Array | undefined {
  if (!["MONOCHROME1", "MONOCHROME2"].includes(data.text("PhotometricInterpretation"))) return undefined;
  const tables = data.element("VOILUTSequence");
  if (tables !== undefined && tables.vr !== "SQ" && data.filled("VOILUTSequence")) notices.push(UNUSABLE_VIEW);
  let leftOut = false;
  for (let number = 0; number < data.items("VOILUTSequence").length; number++) {
    let view: Float64Array;
    try {
      view = throughTable(values.map(roundHalfEven), tableOf(data, "VOILUTSequence", number, values));
    } catch {
      notices.push(UNUSABLE_VIEW);
      continue;
    }
    const fault = faultOf(view, endsOf(view), counts, data);
    if (fault === undefined) return view;
    leftOut = true;
    notices.push(`The VOI LUT ${fault} and was ignored.`);
  }
  let windows: number;
  try {
    windows = data.pair("WindowCenter", "WindowWidth") === undefined ? 0 : Math.min(data.values("WindowCenter").length, data.values("WindowWidth").length);
  } catch {
    notices.push(UNUSABLE_VIEW);
    return undefined;
  }
  for (let number = 0; number < windows; number++) {
    let view: Float64Array;
    try {
      const [below, above] = windowed(FAR, data, number);
      view = windowed(values, data, number).map((value) => (value - below) / (above - below));
    } catch {
      notices.push(UNUSABLE_VIEW);
      continue;
    }
    const fault = faultOf(view, [0, 1], counts, data);
    if (fault === undefined) {
      if (leftOut) notices.push(`The header's VOI window ${number + 1} was used instead.`);
      return view;
    }
    leftOut = true;
    notices.push(`The VOI window ${fault} and was ignored.`);
  }
  return undefined;
}

interface Table {
  first: number;
  entries: number;
  data: ArrayLike<number>;
}

/**
 * Return one table of a sequence; `values` are to be looked up. A first place below zero may stand there as an unsigned
 * number: its type follows that of the pixels, though the table is for rescaled ones.
 */
function tableOf(data: DataSet, key: "ModalityLUTSequence" | "VOILUTSequence", number: number, values: Float64Array): Table {
  const item = data.items(key)[number];
  const descriptor = item?.values("LUTDescriptor").map(Number) ?? [];
  if (descriptor.length !== 3 || !descriptor.every(Number.isFinite)) throw new Unusable("descriptor");
  const [count, place, depth] = descriptor;
  const view = key === "VOILUTSequence";
  if (depth !== 8 && !(depth >= (view ? 10 : 9) && depth <= 16)) throw new Unusable("depth");
  const entries = (count & 0xffff) || 1 << 16;
  const first = place >= 1 << 15 && endsOf(values)[0] < 0 ? place - (1 << 16) : place;
  const bytes = item.bytes("LUTData");
  let table = item.values("LUTData").map(Number);
  if (bytes && depth === 8 && (bytes.length === entries || bytes.length === entries + 1)) {
    table = Array.from(bytes.subarray(0, entries)); // two share a word (C.11.1.1)
  } else if (bytes) {
    if (view ? bytes.length < 2 * entries : bytes.length !== 2 * entries) throw new Unusable("length");
    const words = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    table = Array.from({ length: entries }, (_, i) => words.getUint16(2 * i, item.little));
  }
  if (table.some((value) => !(value >= 0 && value <= 65535))) throw new Unusable("entries");
  return { first, entries, data: table };
}

function throughTable(levels: Float64Array, { first, entries, data }: Table): Float64Array {
  return levels.map((level) => {
    const place = Math.min(entries - 1, level >= first ? level - first : 0);
    if (place >= data.length) throw new Unusable("too few entries");
    return data[place];
  });
}

function endsOf(view: Float64Array): [number, number] {
  return [view.reduce((a, b) => Math.min(a, b)), view.reduce((a, b) => Math.max(a, b))];
}

/** pydicom's `apply_windowing`. */
function windowed(values: Float64Array, data: DataSet, number: number): Float64Array {
  const kind = (data.text("VOILUTFunction").trim() || "LINEAR").toUpperCase();
  let centre = finite(data.values("WindowCenter")[number]);
  let width = finite(data.values("WindowWidth")[number]);
  const [low, high] = outputRange(data);
  const range = high - low;
  if (kind === "SIGMOID") {
    if (width <= 0) throw new Unusable("width");
    return values.map((value) => range / (1 + Math.exp((-4 * (value - centre)) / width)) + low);
  }
  if (kind !== "LINEAR" && kind !== "LINEAR_EXACT") throw new Unusable("function");
  if (kind === "LINEAR") {
    if (width < 1) throw new Unusable("width");
    centre -= 0.5;
    width -= 1;
  } else if (width <= 0) throw new Unusable("width");
  const [below, above] = [centre - width / 2, centre + width / 2];
  return values.map((value) => (value <= below ? low : value > above ? high : ((value - centre) / width + 0.5) * range + low));
}

function outputRange(data: DataSet): [number, number] {
  const stored = data.number("BitsStored");
  if (stored === undefined) throw new Unusable("BitsStored");
  let range: [number, number];
  if (data.filled("ModalityLUTSequence")) range = [0, 65535]; // the tables' entries have 16 bits, or are given as many
  else if (data.whole("PixelRepresentation") === 0) range = [0, 2 ** stored - 1];
  else range = [-(2 ** (stored - 1)), 2 ** (stored - 1) - 1];
  const [slope, intercept] = [data.number("RescaleSlope"), data.number("RescaleIntercept")];
  if (slope === undefined || intercept === undefined) return range;
  return [range[0] * slope + intercept, range[1] * slope + intercept];
}

/** Return what is wrong with a view of each level, as a part of a sentence; undefined where it shows the film. */
function faultOf(view: Float64Array, [low, high]: [number, number], counts: Float64Array, data: DataSet): string | undefined {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (!view.every(Number.isFinite) || high <= low || total === 0) return "hides the film";
  const seen = view.map((value) => (value - low) / (high - low));
  const order = Array.from(seen.keys()).sort((a, b) => seen[a] - seen[b]);
  let sum = 0;
  const reached = order.map((level) => (sum += counts[level]));
  const at = (share: number): number => {
    const place = reached.findIndex((count) => count >= share * total);
    return seen[order[place < 0 ? order.length - 1 : place]];
  };
  const [least, first, last, most] = [0.005, 0.05, 0.95, 0.995].map(at);
  const used = Array.from(counts.keys()).filter((level) => counts[level] > 0);
  if (used.length < 2) return undefined;
  if (first === last) return "hides the film";
  if (most - least < LEAST_SPAN) return "shows hardly any of the film's grey levels";
  // what the detector itself clipped, its least and greatest level, is not a loss
  let [dark, bright] = [0, 0];
  for (const level of used.slice(1, -1)) {
    if (seen[level] <= CLIPPED) dark += counts[level];
    if (seen[level] >= 1 - CLIPPED) bright += counts[level];
  }
  [dark, bright] = [dark / total, bright / total];
  if (data.text("PhotometricInterpretation") === "MONOCHROME1") [dark, bright] = [bright, dark];
  if (dark > MOST_DARK || bright > MOST_BRIGHT || dark + bright > MOST_BOTH) {
    return `clips ${roundHalfEven((dark + bright) * 100)}% of the film`;
  }
  return undefined;
}

function finite(value: unknown): number {
  const found = Number(value);
  if (value === null || value === undefined || !Number.isFinite(found)) throw new Unusable("not a number");
  return found;
}
