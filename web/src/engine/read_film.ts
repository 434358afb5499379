import type { Film } from "./api";

/** Return the film in a PNG, JPEG or DICOM file's bytes; `name` begins the sentence of an error. */
export async function readFilm(bytes: Uint8Array, name: string): Promise<Film> {
  throw new Error(`not written yet: ${name}, ${bytes.length}`);
}
