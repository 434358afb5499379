/** How a picture is turned, by EXIF or XMP, and the picture upright: what Pillow's `exif_transpose` does. */

import type { Numbers } from "../film_values";

const ORIENTATION = 274;
const XMP = /tiff:Orientation(?:="|>)([0-9])/;

/** Return the EXIF orientation, 1 to 8, of an EXIF block ("Exif\0\0" may come first); undefined where it has none. */
export function exifOrientation(block: Uint8Array): number | undefined {
  const start = block[0] === 0x45 && block[1] === 0x78 ? 6 : 0;
  const view = new DataView(block.buffer, block.byteOffset + start, Math.max(0, block.byteLength - start));
  if (view.byteLength < 8) return undefined;
  const little = view.getUint16(0) === 0x4949;
  const directory = view.getUint32(4, little);
  if (directory + 2 > view.byteLength) return undefined;
  const entries = view.getUint16(directory, little);
  for (let i = 0, at = directory + 2; i < entries && at + 12 <= view.byteLength; i++, at += 12) {
    if (view.getUint16(at, little) !== ORIENTATION) continue;
    const long = view.getUint16(at + 2, little) === 4;
    return long ? view.getUint32(at + 8, little) : view.getUint16(at + 8, little);
  }
  return undefined;
}

/** Return the orientation that an XMP packet tells, undefined where it tells none. */
export function xmpOrientation(packet: Uint8Array): number | undefined {
  const found = XMP.exec(new TextDecoder("latin1").decode(packet));
  return found ? Number(found[1]) : undefined;
}

/** Return (height, width) values turned as an EXIF orientation says; another than 2 to 8 turns nothing. */
export function upright<T extends Numbers>(data: T, width: number, height: number, orientation = 1): { data: T; width: number; height: number } {
  if (!(orientation >= 2 && orientation <= 8)) return { data, width, height };
  const lying = orientation >= 5;
  const [across, down] = lying ? [height, width] : [width, height];
  // of a place in the result: from which column and row it comes
  const mirrorX = orientation === 2 || orientation === 3 || orientation === 7 || orientation === 8;
  const mirrorY = orientation === 3 || orientation === 4 || orientation === 6 || orientation === 7;
  const result = new (data.constructor as new (length: number) => T)(data.length);
  for (let y = 0, to = 0; y < down; y++) {
    for (let x = 0; x < across; x++) {
      const [column, row] = lying ? [y, x] : [x, y];
      result[to++] = data[(mirrorY ? height - 1 - row : row) * width + (mirrorX ? width - 1 - column : column)];
    }
  }
  return { data: result, width: across, height: down };
}
