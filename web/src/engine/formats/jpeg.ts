/** JPEG pictures, decoded by libjpeg-turbo as in Python, and made grey as there. */

import { checkMost, pillowLuma } from "../film_values";
import { FilmError } from "../types";
import { decodeJpeg } from "./codecs";
import { jpegHeader } from "./jpeg_segments";
import { upright } from "./orientation";
import type { Picture } from "./png";

/** Return a JPEG's grey values, upright. */
export async function decodeJpegPicture(bytes: Uint8Array, name: string): Promise<Picture> {
  const { frame, orientation } = jpegHeader(bytes);
  if (frame === undefined) {
    throw new FilmError(`${name} is not a readable picture, or its header is damaged: export it again.`);
  }
  checkMost(name, frame.height, frame.width);
  if (frame.bits !== 8) throw new FilmError(`${name} is a JPEG of ${frame.bits} bits, which cannot be read here: export it as PNG or DICOM.`);
  if (frame.components.length === 4) throw new FilmError(`${name} is a JPEG of four inks (CMYK), which cannot be read here: export it as PNG.`);
  try {
    const { values, channels, width, height } = await decodeJpeg(bytes);
    const grey = channels === 1 ? (values as Uint8Array) : pillowLuma(values as Uint8Array, channels);
    const turned = upright(grey, width, height, orientation);
    return { width: turned.width, height: turned.height, values: turned.data, notices: [] };
  } catch {
    // libjpeg-turbo stops where Pillow only warns, at the end of a truncated film too
    throw new FilmError(`${name} is damaged or truncated: export or copy the film again.`);
  }
}
