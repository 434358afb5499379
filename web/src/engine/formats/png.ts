/**
 * PNG of any depth and colour type, decoded to the numbers in the file, then made grey as Python makes it.
 *
 * Of the libraries at hand, one gives 8 bits of 16, another takes a truncated film for a whole one; so only the
 * inflating is a library's here. Rules are those of the PNG specification (W3C, third edition).
 */

import { Inflate } from "pako";

import { checkMost, luma, pillowLuma } from "../film_values";
import type { Numbers } from "../film_values";
import { FilmError } from "../types";
import { exifOrientation, upright, xmpOrientation } from "./orientation";

const GREY = 0;
const COLOUR = 2;
const PALETTE = 3;
const CHANNELS: Record<number, number> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };
const DEPTHS: Record<number, number[]> = { 0: [1, 2, 4, 8, 16], 2: [8, 16], 3: [1, 2, 4, 8], 4: [8, 16], 6: [8, 16] };
const ADAM7 = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
]; // first column, first row, steps

/** A decoded picture: grey numbers of a film, or what is left of them after transparency. */
export interface Picture {
  width: number;
  height: number;
  values: Numbers;
  notices: string[];
}

interface Parts {
  width: number;
  height: number;
  depth: number;
  colour: number;
  interlaced: boolean;
  data: Uint8Array[];
  palette: Uint8Array;
  transparency?: Uint8Array;
  orientation?: number;
}

/** Return a PNG's grey values, upright. */
export function decodePng(bytes: Uint8Array, name: string): Picture {
  const damaged = new FilmError(`${name} is damaged or truncated: export or copy the film again.`);
  try {
    const parts = chunks(bytes, name);
    checkMost(name, parts.height, parts.width);
    const notices: string[] = [];
    const values = greyOf(parts, samples(parts), notices);
    const { data, width, height } = upright(values, parts.width, parts.height, parts.orientation);
    return { width, height, values: data, notices };
  } catch (error) {
    throw error instanceof FilmError ? error : damaged;
  }
}

function chunks(bytes: Uint8Array, name: string): Parts {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const parts: Parts = { width: 0, height: 0, depth: 0, colour: 0, interlaced: false, data: [], palette: new Uint8Array(0) };
  let fromXmp: number | undefined;
  for (let at = 8; ; ) {
    const length = view.getUint32(at); // past the end: a RangeError
    const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const content = bytes.subarray(at + 8, at + 8 + length);
    if (crc32(bytes.subarray(at + 4, at + 8 + length)) !== view.getUint32(at + 8 + length)) throw new Error("checksum");
    if (kind === "IHDR") header(content, parts, name);
    else if (kind === "PLTE") parts.palette = content;
    else if (kind === "tRNS") parts.transparency = content;
    else if (kind === "IDAT") parts.data.push(content);
    else if (kind === "eXIf") parts.orientation = exifOrientation(content);
    else if (kind === "iTXt" && startsWith(content, "XML:com.adobe.xmp\0\0")) fromXmp = xmpOrientation(content);
    else if (kind === "IEND") break;
    at += 12 + length;
  }
  parts.orientation ??= fromXmp;
  return parts;
}

function header(content: Uint8Array, parts: Parts, name: string): void {
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  parts.width = view.getUint32(0);
  parts.height = view.getUint32(4);
  [parts.depth, parts.colour] = [content[8], content[9]];
  parts.interlaced = content[12] === 1;
  if (!DEPTHS[parts.colour]?.includes(parts.depth) || parts.width === 0 || parts.height === 0) {
    throw new FilmError(`${name} is not a readable picture, or its header is damaged: export it again.`);
  }
}

/** Return the samples of all pixels, channels side by side: 8 bits, or 16; of fewer bits one sample a byte. */
function samples(parts: Parts): Uint8Array | Uint16Array {
  const { width, height, depth, interlaced } = parts;
  const channels = CHANNELS[parts.colour];
  const passes = interlaced ? ADAM7 : [[0, 0, 1, 1]];
  const sides = passes.map(([x, y, across, down]) => [Math.ceil((width - x) / across), Math.ceil((height - y) / down)]);
  const lineBytes = (pixels: number): number => Math.ceil((pixels * channels * depth) / 8);
  const total = sides.reduce((sum, [w, h]) => sum + (w > 0 && h > 0 ? h * (1 + lineBytes(w)) : 0), 0);
  const raw = inflated(parts.data, total);
  const result = depth === 16 ? new Uint16Array(width * height * channels) : new Uint8Array(width * height * channels);
  const reach = Math.max(1, (channels * depth) >> 3); // bytes back to the pixel before
  let at = 0;
  passes.forEach(([x0, y0, across, down], pass) => {
    const [w, h] = sides[pass];
    if (w <= 0 || h <= 0) return;
    const bytes = lineBytes(w);
    let above: Uint8Array = new Uint8Array(bytes);
    for (let row = 0; row < h; row++, at += bytes + 1) {
      const line = raw.subarray(at + 1, at + 1 + bytes);
      unfilter(raw[at], line, above, reach);
      above = line;
      const start = ((y0 + row * down) * width + x0) * channels;
      spread(line, result, start, w, channels, across, depth);
    }
  });
  return result;
}

/** Undo a row's filter in place. */
function unfilter(kind: number, line: Uint8Array, above: Uint8Array, reach: number): void {
  const { length } = line;
  if (kind === 1) for (let i = reach; i < length; i++) line[i] += line[i - reach];
  else if (kind === 2) for (let i = 0; i < length; i++) line[i] += above[i];
  else if (kind === 3) {
    for (let i = 0; i < length; i++) line[i] += ((i < reach ? 0 : line[i - reach]) + above[i]) >> 1;
  } else if (kind === 4) {
    for (let i = 0; i < length; i++) {
      const a = i < reach ? 0 : line[i - reach];
      const b = above[i];
      const c = i < reach ? 0 : above[i - reach];
      const [pa, pb, pc] = [Math.abs(b - c), Math.abs(a - c), Math.abs(a + b - 2 * c)];
      line[i] += pa <= pb && pa <= pc ? a : pb <= pc ? b : c;
    }
  } else if (kind !== 0) throw new Error("filter");
}

/** Put a row's samples where they belong, `across` pixels apart. */
function spread(line: Uint8Array, to: Uint8Array | Uint16Array, start: number, pixels: number, channels: number, across: number, depth: number): void {
  const step = across * channels;
  if (depth < 8) {
    const mask = (1 << depth) - 1;
    for (let i = 0; i < pixels; i++) {
      const bit = i * depth;
      to[start + i * step] = (line[bit >> 3] >> (8 - depth - (bit & 7))) & mask;
    }
  } else if (depth === 8) {
    if (across === 1) to.set(line, start);
    else for (let i = 0; i < pixels; i++) for (let c = 0; c < channels; c++) to[start + i * step + c] = line[i * channels + c];
  } else {
    for (let i = 0, from = 0; i < pixels; i++) {
      for (let c = 0; c < channels; c++, from += 2) to[start + i * step + c] = (line[from] << 8) | line[from + 1];
    }
  }
}

/** Return `total` bytes of what the chunks hold; what comes after them is never inflated. */
function inflated(data: Uint8Array[], total: number): Uint8Array {
  const result = new Uint8Array(total);
  let filled = 0;
  const inflate = new Inflate();
  inflate.onData = (chunk: Uint8Array): void => {
    const part = chunk.subarray(0, total - filled);
    result.set(part, filled);
    filled += part.length;
  };
  for (const [i, chunk] of data.entries()) {
    if (filled >= total) break;
    inflate.push(chunk, i === data.length - 1);
    if (inflate.err) break;
  }
  if (filled < total) throw new Error("truncated");
  return result;
}

/** Return (H, W) grey numbers; transparency lies on black, as Pillow and `formats/png.py` lay it. */
function greyOf(parts: Parts, values: Uint8Array | Uint16Array, notices: string[]): Numbers {
  const { depth, colour, transparency } = parts;
  if (colour === GREY) {
    if (depth >= 8) return values;
    const factor = 255 / ((1 << depth) - 1);
    return values.map((value) => value * factor);
  }
  if (values instanceof Uint16Array) return deepGrey(values, CHANNELS[colour]);
  if (colour === PALETTE) return ofPalette(values, parts);
  if (colour === COLOUR) {
    const grey = pillowLuma(values, 3);
    if (transparency && transparency.length >= 6) {
      const [r, g, b] = [transparency[1], transparency[3], transparency[5]];
      for (let i = 0, from = 0; i < grey.length; i++, from += 3) {
        if (values[from] === r && values[from + 1] === g && values[from + 2] === b) grey[i] = 0;
      }
    }
    return grey;
  }
  return withAlpha(values, CHANNELS[colour], notices);
}

function withAlpha(values: Uint8Array, channels: number, notices: string[]): Uint8Array {
  const pixels = values.length / channels;
  let seen = false;
  for (let i = channels - 1; i < values.length && !seen; i += channels) seen = values[i] !== 0;
  if (!seen) notices.push("The picture is fully transparent: its transparency was ignored.");
  const colours = new Uint8Array(pixels * 3);
  for (let i = 0; i < pixels; i++) {
    const alpha = seen ? values[i * channels + channels - 1] : 255;
    for (let c = 0; c < 3; c++) colours[i * 3 + c] = onBlack(values[i * channels + (channels === 4 ? c : 0)], alpha);
  }
  return pillowLuma(colours);
}

function ofPalette(values: Uint8Array, { palette, transparency }: Parts): Uint8Array {
  const alphas = transparency ?? [];
  const colours = new Uint8Array(256 * 3);
  for (let i = 0; i < 256; i++) {
    for (let c = 0; c < 3; c++) colours[i * 3 + c] = onBlack(palette[i * 3 + c] ?? 0, alphas[i] ?? 255);
  }
  const greys = pillowLuma(colours);
  return values.map((value) => greys[value]);
}

/** Pillow's `alpha_composite` over opaque black, in its integers. */
function onBlack(value: number, alpha: number): number {
  if (alpha === 255) return value;
  const product = value * alpha * 128 + (0x80 << 7);
  return ((((product >> 8) + product) >> 8) >> 7) & 255;
}

/** Return float values, 0 to 65535, of several 16-bit channels. */
function deepGrey(values: Uint16Array, channels: number): Float32Array {
  const pixels = values.length / channels;
  const result = channels === 2 ? new Float32Array(pixels) : (luma(values, channels) as Float32Array);
  if (channels === 2) for (let i = 0; i < pixels; i++) result[i] = values[i * 2];
  if (channels === 3) return result;
  const alphas = new Float32Array(pixels);
  for (let i = 0; i < pixels; i++) alphas[i] = values[i * channels + channels - 1] / 65535;
  if (alphas.some((alpha) => alpha !== 0)) for (let i = 0; i < pixels; i++) result[i] *= alphas[i];
  return result;
}

function startsWith(bytes: Uint8Array, text: string): boolean {
  return [...text].every((letter, i) => bytes[i] === letter.charCodeAt(0));
}

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c;
});

function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) crc = CRC[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}
