import { checkSize, scaled } from "./film_values";
import { decodeDicom } from "./formats/dicom/film";
import { isDicom, isNamedDicom } from "./formats/dicom/parse";
import { decodeJpegPicture } from "./formats/jpeg";
import { decodePng } from "./formats/png";
import type { Picture } from "./formats/png";
import { INVERTED_NOTICE, righted } from "./inverted";
import { filmWarnings, thumbnailOf } from "./plausibility";
import { FilmError } from "./types";
import type { Film } from "./types";

/** The formats, for sentences. */
export const KINDS = "PNG, JPEG or DICOM";

/** What the shell reads and the page does not, by its first bytes. */
const OTHERS: [string, number[]][] = [
  ["TIFF", [0x49, 0x49, 0x2a, 0x00]],
  ["TIFF", [0x4d, 0x4d, 0x00, 0x2a]],
  ["BMP", [0x42, 0x4d]],
  ["WebP or another format in RIFF", [0x52, 0x49, 0x46, 0x46]],
  ["npz or another archive", [0x50, 0x4b, 0x03, 0x04]],
  ["NIfTI or another compressed file", [0x1f, 0x8b]],
];

/** Return the film in a PNG, JPEG or DICOM file's bytes; `name` begins the sentence of an error. */
export async function readFilm(bytes: Uint8Array, name: string): Promise<Film> {
  if (bytes.length === 0) throw new FilmError(`${name} is empty (0 bytes): copy or export the film again.`);
  if (isDicom(bytes)) return rightedFilm(await decodeDicom(bytes, name));
  if (starts(bytes, [0x89, 0x50, 0x4e, 0x47])) return ofPicture(decodePng(bytes, name), "PNG", name);
  if (starts(bytes, [0xff, 0xd8])) return ofPicture(await decodeJpegPicture(bytes, name), "JPEG", name);
  const other = OTHERS.find(([, mark]) => starts(bytes, mark));
  if (other) throw new FilmError(`${name} is a film in ${other[0]}, which the page does not read: give ${KINDS}, or use the command \`adaloraqat segment\`.`);
  if (isNamedDicom(name)) return rightedFilm(await decodeDicom(bytes, name));
  throw new FilmError(`${name} is not a film in a known format, whatever its name: give ${KINDS}.`);
}

function ofPicture(picture: Picture, format: string, name: string): Film {
  const { width, height, values, notices } = picture;
  checkSize(name, height, width);
  return rightedFilm({ width, height, grey: scaled(values, name), format, notices, warnings: [] });
}

/** Return the film with bright = dense: inverted, with a notice, if its content says so. */
function rightedFilm(film: Film): Film {
  const { data, inverted } = righted({ width: film.width, height: film.height, data: film.grey });
  const upright = inverted ? { ...film, grey: data, notices: [...film.notices, INVERTED_NOTICE] } : film;
  const { width, height, grey } = thumbnailOf(upright);
  const seen = { pixels: { width, height, data: grey }, shape: [film.height, film.width] as [number, number], told: film.told };
  return { ...upright, warnings: filmWarnings(seen) };
}

function starts(bytes: Uint8Array, mark: number[]): boolean {
  return mark.every((value, i) => bytes[i] === value);
}
