import { checkSize, scaled } from "./film_values";
import { decodePng } from "./formats/png";
import type { Picture } from "./formats/png";
import { INVERTED_NOTICE, righted } from "./inverted";
import { filmWarnings, thumbnailOf } from "./plausibility";
import { FilmError } from "./types";
import type { Film } from "./types";

/** The formats, for sentences. */
export const KINDS = "PNG, JPEG or DICOM";

/** Return the film in a PNG, JPEG or DICOM file's bytes; `name` begins the sentence of an error. */
export async function readFilm(bytes: Uint8Array, name: string): Promise<Film> {
  if (bytes.length === 0) throw new FilmError(`${name} is empty (0 bytes): copy or export the film again.`);
  if (starts(bytes, [0x89, 0x50, 0x4e, 0x47])) return ofPicture(decodePng(bytes, name), "PNG", name);
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
