/** What a JPEG's bytes say of size and form, before anything is decoded: `formats/jpeg.py`. */

import { exifOrientation, xmpOrientation } from "./orientation";

const START_OF_SCAN = 0xda;
const JPEG_LS = 0xf7;
const XMP = "http://ns.adobe.com/xap/1.0/\0";
const JPEG_2000 = [0xff, 0x4f, 0xff, 0x51];

/** A marker segment: its marker's second byte, and its content without the length. */
interface Segment {
  kind: number;
  start: number; // of the marker
  content: Uint8Array;
}

/** What the segments before the first scan say. */
export interface JpegHeader {
  frame?: { kind: number; bits: number; height: number; width: number; components: number[] };
  jfif: boolean;
  adobe: boolean;
  orientation?: number;
}

/** Read the segments before the first scan. */
export function jpegHeader(data: Uint8Array): JpegHeader {
  const found: JpegHeader = { jfif: false, adobe: false };
  let fromXmp: number | undefined;
  for (const { kind, content } of segments(data)) {
    if (isFrame(kind) && content.length >= 6) found.frame = frameOf(kind, content);
    else if (kind === 0xe0 && startsWith(content, "JFIF")) found.jfif = true;
    else if (kind === 0xee && startsWith(content, "Adobe")) found.adobe = true;
    else if (kind === 0xe1 && startsWith(content, "Exif\0\0")) found.orientation ??= exifOrientation(content);
    else if (kind === 0xe1 && startsWith(content, XMP)) fromXmp = xmpOrientation(content);
  }
  found.orientation ??= fromXmp;
  return found;
}

/** Return the stream with colours left as they are stored: no JFIF marker, and Adobe's that says so. */
export function withoutColourTransform(data: Uint8Array): Uint8Array {
  const adobe = [0xff, 0xee, 0, 14, ..."Adobe".split("").map((letter) => letter.charCodeAt(0)), 0, 100, 0, 0, 0, 0, 0];
  const parts = [data.subarray(0, 2), Uint8Array.from(adobe)];
  let end = 2;
  for (const { kind, start, content } of segments(data)) {
    if (kind === START_OF_SCAN) break;
    end = start + 4 + content.length;
    if (kind !== 0xe0) parts.push(data.subarray(start, end));
  }
  return joined([...parts, data.subarray(end)]);
}

/** Return (height, width) that a JPEG, JPEG-LS or JPEG 2000 says it has; undefined where it does not say so. */
export function frameSize(data: Uint8Array): [number, number] | undefined {
  const at = jpeg2000Start(data);
  if (at !== undefined) {
    const view = new DataView(data.buffer, data.byteOffset + at, data.byteLength - at);
    if (view.byteLength < 24) return undefined;
    const [right, bottom, left, top] = [8, 12, 16, 20].map((place) => view.getUint32(place));
    return [bottom - top, right - left];
  }
  const frame = jpegHeader(data).frame;
  return frame && frame.height > 0 ? [frame.height, frame.width] : undefined;
}

/** Return where a JPEG 2000 stream begins, also inside a JP2 file. */
export function jpeg2000Start(data: Uint8Array): number | undefined {
  const jp2 = startsWith(data, "\0\0\0\x0cjP  ");
  if (!jp2) return JPEG_2000.every((byte, i) => data[i] === byte) ? 0 : undefined;
  for (let at = 0; at + 4 <= data.length; at++) if (JPEG_2000.every((byte, i) => data[at + i] === byte)) return at;
  return undefined;
}

export function joined(parts: readonly Uint8Array[]): Uint8Array {
  const result = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    result.set(part, at);
    at += part.length;
  }
  return result;
}

function frameOf(kind: number, content: Uint8Array): JpegHeader["frame"] {
  const count = content[5];
  return {
    kind,
    bits: content[0],
    height: (content[1] << 8) | content[2],
    width: (content[3] << 8) | content[4],
    components: Array.from({ length: count }, (_, i) => content[6 + 3 * i]),
  };
}

function isFrame(kind: number): boolean {
  return kind === JPEG_LS || ((kind & 0xf0) === 0xc0 && ![0xc4, 0xc8, 0xcc].includes(kind));
}

function* segments(data: Uint8Array): Generator<Segment> {
  let place = 2;
  while (place + 4 <= data.length && data[place] === 0xff) {
    const kind = data[place + 1];
    if (kind === 0xff) place += 1;
    else if (kind === 0x01 || (kind >= 0xd0 && kind <= 0xd8)) place += 2; // markers without a length
    else {
      const length = (data[place + 2] << 8) | data[place + 3];
      yield { kind, start: place, content: data.subarray(place + 4, place + 2 + length) };
      if (kind === START_OF_SCAN) return;
      place += 2 + length;
    }
  }
}

function startsWith(bytes: Uint8Array, text: string): boolean {
  for (let i = 0; i < text.length; i++) if (bytes[i] !== text.charCodeAt(i)) return false;
  return true;
}
