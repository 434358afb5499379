/** A DICOM file's elements, read by dcmjs; what an old or damaged file lacks is put in its place before. */

import dcmjs from "dcmjs";
import type { DicomElements } from "dcmjs";
import { Inflate } from "pako";

import { MAX_PIXELS } from "../../film_values";
import { FilmError } from "../../types";
import { joined } from "../jpeg_segments";
import { DataSet } from "./elements";

// its loggers keep the console that they were made with
dcmjs.log.getLogger?.("validation.dcmjs").setLevel("silent");
dcmjs.log.setLevel?.("silent");

const META_START = 132;
const DEFLATED = "1.2.840.10008.1.2.1.99";
const EXPLICIT_LITTLE = "1.2.840.10008.1.2.1";
const EXPLICIT_BIG = "1.2.840.10008.1.2.2";
const IMPLICIT_LITTLE = "1.2.840.10008.1.2";
const PIXELS = "7FE00010";
const UNDEFINED = 0xffffffff;
const DELIMITER = [0xfe, 0xff, 0xdd, 0xe0]; // ends the fragments
const MOST_EMPTY = 4096; // zero bytes instead of elements
const MOST_INFLATED = 4 * MAX_PIXELS + (64 << 20);
const SUFFIXES = [".dcm", ".dicom", ".dic", ".ima"];

const LONG = ["OB", "OW", "SQ", "UN", "UT"]; // whose length has four bytes more
const BARE_TAGS = 3; // that must follow one another
const BARE_START = 512; // bytes

/** Tell whether a file is DICOM, by its mark or, as old files have none, by its first elements. */
export function isDicom(bytes: Uint8Array): boolean {
  return isMarked(bytes) || [[true, false], [true, true], [false, true]].some(([little, explicit]) => hasTags(bytes, little, explicit));
}

function isMarked(bytes: Uint8Array): boolean {
  return text(bytes, 128, 132) === "DICM";
}

/** Tell whether tags of meta information or identification rise, and the length of each leads to the next. */
function hasTags(bytes: Uint8Array, little: boolean, explicit: boolean): boolean {
  const start = bytes.slice(0, BARE_START);
  const view = new DataView(start.buffer);
  let [place, last] = [0, 0];
  for (let number = 0; number < BARE_TAGS; number++) {
    if (place + 12 > start.length) return false;
    const group = view.getUint16(place, little);
    const tag = group * 0x10000 + view.getUint16(place + 2, little);
    const kind = text(start, place + 4, place + 6);
    if (tag <= last || (number === 0 && group !== 2 && group !== 8)) return false;
    if (explicit && !/^[A-Z]{2}$/.test(kind)) return false;
    if (explicit && LONG.includes(kind)) place += 12 + view.getUint32(place + 8, little);
    else if (explicit) place += 8 + view.getUint16(place + 6, little);
    else place += 8 + view.getUint32(place + 4, little);
    last = tag;
  }
  return true;
}

export function isNamedDicom(name: string): boolean {
  return SUFFIXES.some((suffix) => name.toLowerCase().endsWith(suffix));
}

/** Return a file's elements. */
export function readDataSet(bytes: Uint8Array, name: string): DataSet {
  const marked = isMarked(bytes);
  const start = bytes.subarray(dataStart(bytes, marked)).subarray(0, MOST_EMPTY);
  if (start.length === MOST_EMPTY && start.every((byte) => byte === 0)) {
    throw new FilmError(`${name} holds zeros instead of a DICOM film: export or copy it again.`);
  }
  const unreadable = new FilmError(`${name} is not a readable DICOM file: export or copy it again.`);
  let file = bytes;
  if (!marked || text(bytes, META_START, META_START + 2) !== "\x02\0") file = withMeta(bytes.subarray(marked ? META_START : 0));
  try {
    checkInflatedSize(file, name);
    const whole = file.slice().buffer as ArrayBuffer;
    const { meta, dict } = quietly(() => dcmjs.data.DicomMessage.readFile(whole, { ignoreErrors: true }));
    const syntax = String(meta["00020010"]?.Value?.[0] ?? IMPLICIT_LITTLE).replace(/[\0 ]+$/, "");
    const elements = dict as DicomElements;
    const early = syntax !== DEFLATED && endsEarly(file, elements, syntax === EXPLICIT_BIG);
    if (early === "fragments") throw new FilmError(`${name} holds no DICOM image, or is truncated: give a CR or DX film.`);
    if (early === "values") elements[PIXELS].Value = [new ArrayBuffer(0)]; // too few, instead of zeros
    return new DataSet(elements, syntax, syntax !== EXPLICIT_BIG);
  } catch (error) {
    throw error instanceof FilmError ? error : unreadable;
  }
}

/** Tell what of its pixels a truncated file lacks; dcmjs fills up what is missing with zeros. */
function endsEarly(file: Uint8Array, elements: DicomElements, big: boolean): "values" | "fragments" | false {
  const value = elements[PIXELS]?.Value?.[0];
  if (!(value instanceof ArrayBuffer)) return false;
  const tag = big ? [0x7f, 0xe0, 0x00, 0x10] : [0xe0, 0x7f, 0x10, 0x00];
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  for (let at = file.length - 8; at >= 0; at--) {
    if (file[at] !== tag[0] || file[at + 1] !== tag[1] || file[at + 2] !== tag[2] || file[at + 3] !== tag[3]) continue;
    for (const place of [at + 4, at + 8]) {
      // the length stands after the tag, or after the kind of value
      if (place + 4 > file.length) continue;
      const length = view.getUint32(place, !big);
      if (length === value.byteLength && length !== 0) return place + 4 + length > file.length && "values";
      if (length === UNDEFINED) return !has(file, place, DELIMITER) && "fragments";
    }
  }
  return false;
}

function has(file: Uint8Array, from: number, mark: number[]): boolean {
  for (let at = file.length - mark.length; at >= from; at--) if (mark.every((byte, i) => file[at + i] === byte)) return true;
  return false;
}

/** Return where the elements begin, after preamble and meta information where there are any. */
function dataStart(bytes: Uint8Array, marked: boolean): number {
  if (!marked) return 0;
  if (text(bytes, META_START, META_START + 4) !== "\x02\0\0\0" || bytes.length < META_START + 12) return META_START;
  return META_START + 12 + new DataView(bytes.buffer, bytes.byteOffset).getUint32(META_START + 8, true);
}

/** Put a preamble and the syntax that its first element shows before an old file's elements. */
function withMeta(elements: Uint8Array): Uint8Array {
  const explicit = /^[A-Z]{2}$/.test(text(elements, 4, 6));
  const big = explicit && elements[0] === 0 && elements[1] !== 0;
  const syntax = explicit ? (big ? EXPLICIT_BIG : EXPLICIT_LITTLE) : IMPLICIT_LITTLE;
  const padded = syntax.length % 2 ? `${syntax}\0` : syntax;
  const uid = Uint8Array.from([2, 0, 0x10, 0, 0x55, 0x49, padded.length, 0, ...ascii(padded)]);
  const head = new Uint8Array(META_START);
  head.set(ascii("DICM"), 128);
  if (text(elements, 0, 4) === "\x02\0\0\0") return joined([head, elements]); // only the preamble is missing
  const length = Uint8Array.from([2, 0, 0, 0, 0x55, 0x4c, 4, 0, uid.length, 0, 0, 0]);
  return joined([head, length, uid, elements]);
}

/** Refuse a deflated file that would inflate beyond any film. */
function checkInflatedSize(bytes: Uint8Array, name: string): void {
  const head = text(bytes, 0, Math.min(bytes.length, 1 << 12));
  if (!head.includes(DEFLATED)) return;
  let total = 0;
  const inflate = new Inflate({ raw: true });
  inflate.onData = (chunk: Uint8Array): void => {
    total += chunk.length;
    if (total > MOST_INFLATED) throw new FilmError(`${name} decompresses to more than any film holds: export it uncompressed.`);
  };
  inflate.push(bytes.subarray(dataStart(bytes, true)), true);
}

/** dcmjs tells of each value that bends the standard; a film's own sentence says what matters. */
function quietly<T>(work: () => T): T {
  const { log, warn, error } = console;
  console.log = console.warn = console.error = (): void => {};
  try {
    return work();
  } finally {
    Object.assign(console, { log, warn, error });
  }
}

function text(bytes: Uint8Array, start: number, end: number): string {
  return String.fromCharCode(...bytes.subarray(start, end));
}

function ascii(letters: string): number[] {
  return [...letters].map((letter) => letter.charCodeAt(0));
}
