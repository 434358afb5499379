import { expect, test } from "vitest";

import { readFilm } from "../src/engine/read_film";
import stored from "../src/engine/self_check.json";

const png = Uint8Array.from(Buffer.from(stored.png, "base64"));
const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "latin1"));

test("a film is its values over 255, and says nothing that is not so", async () => {
  const film = await readFilm(png, "film.png");
  expect([film.width, film.height, film.format]).toEqual([144, 144, "PNG"]);
  expect(film.grey.every((value) => Number.isInteger(Math.round(value * 255 * 1e3) / 1e3))).toBe(true);
  expect([film.notices, film.spacing, film.dicom]).toEqual([[], undefined, undefined]);
});

test.each([
  ["empty", new Uint8Array(0), "empty is empty (0 bytes): copy or export the film again."],
  ["a.txt", bytes("no film"), "a.txt is not a film in a known format, whatever its name: give PNG, JPEG or DICOM."],
  ["a.tif", bytes("II*\0rest"), "a.tif is a film in TIFF, which the page does not read"],
  ["a.png", png.subarray(0, 3000), "a.png is damaged or truncated: export or copy the film again."],
  ["a.dcm", bytes(`${"\0".repeat(128)}DICM`), "a.dcm "],
])("%s is refused in one sentence", async (name, content, sentence) => {
  await expect(readFilm(content, name)).rejects.toThrow(sentence);
  await expect(readFilm(content, name)).rejects.toMatchObject({ name: "FilmError" });
});

test("a flipped bit is found by its chunk's checksum", async () => {
  const changed = png.slice();
  changed[2000] ^= 4;
  await expect(readFilm(changed, "film.png")).rejects.toThrow("film.png is damaged or truncated");
});
