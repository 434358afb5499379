/** The small picture of a film in the list. */
import type { Film } from "../engine/api";
import type { Window } from "./types";

const SIDE = 96;

/** Return a square of 96 px, the film whole on black with its mask tinted, as a data address. */
export function thumbnailOf(film: Film, window: Window, mask: Uint8Array): string {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = SIDE;
  const context = canvas.getContext("2d");
  if (!context) return "";
  const image = context.createImageData(SIDE, SIDE);
  const step = Math.max(film.width, film.height * (film.aspect ?? 1)) / SIDE;
  const [left, top] = [(SIDE - film.width / step) / 2, (SIDE - (film.height * (film.aspect ?? 1)) / step) / 2];
  for (let row = 0; row < SIDE; row++) {
    for (let column = 0; column < SIDE; column++) {
      const x = Math.floor((column + 0.5 - left) * step);
      const y = Math.floor(((row + 0.5 - top) * step) / (film.aspect ?? 1));
      const place = (row * SIDE + column) * 4;
      image.data[place + 3] = 255;
      if (x < 0 || y < 0 || x >= film.width || y >= film.height) continue;
      const source = y * film.width + x;
      const value = ((film.grey[source] - window.centre) / window.width + 0.5) * 255;
      const tint = mask[source] ? 0.3 : 0;
      image.data[place] = value * (1 - tint) + 26 * tint;
      image.data[place + 1] = value * (1 - tint) + 190 * tint;
      image.data[place + 2] = value * (1 - tint) + 255 * tint;
    }
  }
  context.putImageData(image, 0, 0);
  return canvas.toDataURL();
}
