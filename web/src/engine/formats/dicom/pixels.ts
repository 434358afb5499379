/** The stored values of one DICOM frame, in the container and with the sign that Python gives them. */

import type { Numbers } from "../../film_values";
import { decodeJpeg, decodeJpeg2000, decodeJpegLossless, decodeJpegLs } from "../codecs";
import type { Decoded } from "../codecs";
import { frameSize, jpeg2000Start, jpegHeader, joined, withoutColourTransform } from "../jpeg_segments";
import { isSigned, ownBits } from "./bits";
import type { Whole } from "./bits";
import type { DataSet } from "./elements";
import { ybrToRgb } from "./colour";
import { decodeRle } from "./rle";
import type { Coding } from "./syntaxes";

/** Stored numbers: (H, W), or (H, W, 3) with `channels` 3. */
export interface Stored {
  values: Numbers;
  channels: number;
  /** Of an uncompressed grey film, the words in the file: bits above BitsStored may mark padding. */
  words: Numbers;
}

interface Header {
  rows: number;
  columns: number;
  channels: number;
  allocated: number;
  stored: number;
  high: number;
  signed: boolean;
  planar: boolean;
  photometric: string;
}

/** A frame that does not have its header's size. */
export class OtherSize extends Error {}

/** What is damaged is refused with any exception; `OtherSize` where the frame is another than the header's. */
export async function storedValues(data: DataSet, coding: Coding, notices: string[]): Promise<Stored> {
  const header = headerOf(data);
  if (coding === "native") return native(data, header, notices);
  const frame = frameOf(data);
  const size = coding === "rle" ? undefined : frameSize(frame);
  if (size && (size[0] !== header.rows || size[1] !== header.columns)) throw new OtherSize();
  const { values, bits } = await decodedFrame(frame, coding, header);
  if (values.length !== header.rows * header.columns * header.channels) throw new OtherSize();
  const corrected = corrections(values as Whole, coding, header, bits);
  const own = header.channels === 1 ? ownOf(corrected, header, header.stored, notices) : corrected;
  return { values: own, channels: header.channels, words: own };
}

function headerOf(data: DataSet): Header {
  const stored = data.whole("BitsStored");
  return {
    rows: data.whole("Rows"),
    columns: data.whole("Columns"),
    channels: data.whole("SamplesPerPixel", 1) || 1,
    allocated: data.whole("BitsAllocated"),
    stored,
    high: data.whole("HighBit", stored - 1),
    signed: data.whole("PixelRepresentation") === 1,
    planar: data.whole("PlanarConfiguration") === 1,
    photometric: data.text("PhotometricInterpretation"),
  };
}

/** Return the first compressed frame: all fragments, since a film is one frame. */
function frameOf(data: DataSet): Uint8Array {
  const parts = data.values("PixelData").filter((part): part is ArrayBuffer => part instanceof ArrayBuffer);
  if (parts.length === 0) throw new Error("no fragments");
  return joined(parts.map((part) => new Uint8Array(part)));
}

function ownOf(values: Whole, { columns, photometric }: Header, bits: number, notices: string[]): Whole {
  return ownBits(values, columns, bits, photometric !== "PALETTE COLOR", notices);
}

function native(data: DataSet, header: Header, notices: string[]): Stored {
  const { rows, columns, channels, allocated, stored, high, signed } = header;
  const bytes = data.bytes("PixelData");
  const size = allocated / 8;
  if (bytes === undefined || ![1, 2, 4].includes(size)) throw new Error("bits");
  const half = header.photometric === "YBR_FULL_422" && channels === 3;
  const count = rows * columns * (half ? 2 : channels);
  if (bytes.length < count * size) throw new Error("too short");
  checkBeyond(bytes, count * size, size, rows, columns);
  const read = asWords(bytes, count, size, signed, data.little);
  // old files keep their values in the upper bits of a word
  const shift = high + 1 - stored;
  const shifted = shift > 0 && stored > 0 && high < allocated;
  const used = shifted ? high + 1 : stored;
  if (channels === 1) {
    const own = ownOf(read, header, used, notices);
    const words = isSigned(own) === signed ? read : asWords(bytes, count, size, !signed, data.little);
    return { values: shifted ? shiftedDown(own, shift) : own, channels, words };
  }
  if (used > 0 && used < allocated) unusedBitsOff(read, allocated - used);
  const down = shifted ? shiftedDown(read, shift) : read;
  let values: Numbers = half ? expanded(down) : header.planar ? byPixel(down, channels) : down;
  if (header.photometric.startsWith("YBR_FULL")) values = ybrToRgb(values as Uint8Array);
  return { values, channels, words: values };
}

function shiftedDown(values: Whole, shift: number): Whole {
  const signed = isSigned(values);
  return values.map((value) => (signed ? value >> shift : value >>> shift));
}

/** What is stored beyond the frame is padding, or the header's size is wrong. */
function checkBeyond(bytes: Uint8Array, expected: number, size: number, rows: number, columns: number): void {
  const beyond = bytes.subarray(expected);
  if (beyond.every((byte, i) => byte === beyond[i % size])) return;
  if (beyond.length % (rows * size) !== 0 && beyond.length % (columns * size) !== 0) return;
  throw new OtherSize();
}

function asWords(bytes: Uint8Array, count: number, size: number, signed: boolean, little: boolean): Whole {
  const own = bytes.slice(0, count * size);
  if (!little && size > 1) {
    for (let i = 0; i < own.length; i += size) own.subarray(i, i + size).reverse();
  } else if (!little && bytes.length > 1) {
    const whole = bytes.slice(0, count + (count % 2)); // bytes written as words of two
    for (let i = 0; i + 1 < whole.length; i += 2) [whole[i], whole[i + 1]] = [whole[i + 1], whole[i]];
    own.set(whole.subarray(0, count));
  }
  const { buffer } = own;
  if (size === 1) return signed ? new Int8Array(buffer) : own;
  if (size === 2) return signed ? new Int16Array(buffer) : new Uint16Array(buffer);
  return signed ? new Int32Array(buffer) : new Uint32Array(buffer);
}

/** Shift left and back within the word: bits above are gone, a sign is carried on. */
function unusedBitsOff(values: Whole, shift: number): void {
  const width = values.BYTES_PER_ELEMENT * 8;
  const up = 32 - width + shift;
  const signed = isSigned(values);
  for (let i = 0; i < values.length; i++) values[i] = signed ? (values[i] << up) >> up : (values[i] << up) >>> up;
}

async function decodedFrame(frame: Uint8Array, coding: Coding, header: Header): Promise<{ values: Numbers; bits: number }> {
  const { rows, columns, channels, allocated, stored } = header;
  if (coding === "rle") {
    const bytes = decodeRle(frame, rows * columns, channels, allocated / 8);
    const values = asWords(bytes, rows * columns * channels, allocated / 8, header.signed, true);
    return { values: inColours(values, true, header), bits: stored };
  }
  if (coding === "jpeg") return jpegFrame(frame, header);
  let decoded: Decoded;
  if (coding === "jpeg-ls") decoded = await decodeJpegLs(frame);
  else if (coding === "jpeg-lossless") decoded = losslessFrame(frame);
  else decoded = await decodeJpeg2000(frame.subarray(jpeg2000Start(frame) ?? 0));
  if (decoded.channels !== channels) throw new Error(`${decoded.channels} channels`);
  const values = coding === "jpeg-2000" ? decoded.values : contained(decoded.values, allocated, header.signed);
  return { values: inColours(values, decoded.planar, header), bits: decoded.bits };
}

function losslessFrame(frame: Uint8Array): Decoded {
  const bits = jpegHeader(frame).frame?.bits ?? 0;
  if (bits < 2 || bits > 16) throw new Error(`${bits} bits`); // beyond what lossless JPEG may have
  return decodeJpegLossless(frame);
}

/** Return a baseline JPEG's values, colours as Pillow and pydicom make them. */
async function jpegFrame(frame: Uint8Array, header: Header): Promise<{ values: Numbers; bits: number }> {
  const { frame: own, jfif, adobe } = jpegHeader(frame);
  if (own === undefined || own.bits !== 8) throw new Error("not of 8 bits");
  const colour = header.channels === 3;
  const decoded = await decodeJpeg(colour && !adobe ? withoutColourTransform(frame) : frame);
  if (decoded.channels !== header.channels) throw new Error(`${decoded.channels} channels`);
  if (!colour) return { values: contained(decoded.values, header.allocated, header.signed), bits: header.stored };
  const named = ["82,71,66", "114,103,98"].includes(own.components.join());
  const ybr = !named && (header.photometric.startsWith("YBR_FULL") || (jfif && !header.photometric.includes("YBR")));
  const values = decoded.values as Uint8Array;
  return { values: ybr ? ybrToRgb(values) : values, bits: header.stored };
}

/** Return colours side by side in a pixel, as RGB. */
function inColours(values: Whole, planar: boolean, header: Header): Numbers {
  if (header.channels === 1) return values;
  const sorted = planar ? byPixel(values, header.channels) : values;
  return header.photometric.startsWith("YBR_FULL") ? ybrToRgb(sorted as Uint8Array) : sorted;
}

function byPixel(planes: Whole, channels: number): Whole {
  const pixels = planes.length / channels;
  const result = planes.slice() as Whole;
  for (let c = 0; c < channels; c++) for (let i = 0; i < pixels; i++) result[i * channels + c] = planes[c * pixels + i];
  return result;
}

/** Expand Y1 Y2 B R to one colour a pixel. */
function expanded(read: Whole): Uint8Array {
  const result = new Uint8Array((read.length / 2) * 3);
  for (let from = 0, to = 0; from < read.length; from += 4, to += 6) {
    result.set([read[from], read[from + 2], read[from + 3], read[from + 1], read[from + 2], read[from + 3]], to);
  }
  return result;
}

/** Return whole numbers in words of BitsAllocated, which is where Python's decoders leave them. */
function contained(values: Decoded["values"], allocated: number, signed: boolean): Whole {
  if (allocated === 8) return signed ? Int8Array.from(values) : Uint8Array.from(values);
  if (allocated === 16) return signed ? Int16Array.from(values) : Uint16Array.from(values);
  return signed ? Int32Array.from(values) : Uint32Array.from(values);
}

/** Take off bits above the stored ones as Python's decoders do before anything is judged; most leave grey as it is. */
function corrections(values: Whole, coding: Coding, header: Header, bits: number): Whole {
  const width = values.BYTES_PER_ELEMENT * 8;
  if (coding === "jpeg-2000") return values;
  if (coding === "jpeg-ls") {
    if (header.signed && bits < width) unusedBitsOff(values, width - bits);
  } else if ((coding === "jpeg-lossless" || header.channels > 1) && header.stored > 0 && header.allocated > header.stored) {
    unusedBitsOff(values, header.allocated - header.stored);
  }
  return values;
}
