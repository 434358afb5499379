/** What is drawn of a film and its mask, kept until it changes: the windowed film, the fill and the line. */
import { unpack } from "../bits";
import { render } from "../grey";
import { loops, pathOf } from "../outline";
import type { Film } from "../../engine/api";
import type { Outlined, Window } from "../types";

export const OUTLINE = "#35c6ff";
const FILL = [0x35, 0xc6, 0xff];

let film: { of: Film; window: Window; inverted: boolean; canvas: HTMLCanvasElement; image: ImageData } | null = null;
let mask: { of: Uint8Array; fill: HTMLCanvasElement; path: Path2D } | null = null;

function canvasOf(width: number, height: number): [HTMLCanvasElement, CanvasRenderingContext2D] {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  if (!context) throw new RangeError("no memory for a canvas");
  return [canvas, context];
}

/** The film as it is windowed. */
export function filmLayer(of: Film, window: Window, inverted: boolean): HTMLCanvasElement {
  if (film && film.of === of && film.window === window && film.inverted === inverted) return film.canvas;
  const isSame = film?.of === of;
  const canvas = isSame && film ? film.canvas : canvasOf(of.width, of.height)[0];
  const context = canvas.getContext("2d");
  if (!context) throw new RangeError("no memory for a canvas");
  const image = isSame && film ? film.image : context.createImageData(of.width, of.height);
  render(of.grey, window, inverted, image);
  context.putImageData(image, 0, 0);
  film = { of, window, inverted, canvas, image };
  return canvas;
}

/** The mask as opaque colour on nothing, and the line around it in pixels of the film. */
export function maskLayer(result: Outlined): { fill: HTMLCanvasElement; path: Path2D } {
  if (mask?.of === result.bits) return mask;
  const values = unpack(result.bits, result.width * result.height);
  const [fill, context] = canvasOf(result.width, result.height);
  const image = context.createImageData(result.width, result.height);
  const pixels = new Uint32Array(image.data.buffer);
  const colour = 0xff000000 | (FILL[2] << 16) | (FILL[1] << 8) | FILL[0];
  for (let index = 0; index < values.length; index++) if (values[index]) pixels[index] = colour;
  context.putImageData(image, 0, 0);
  mask = { of: result.bits, fill, path: pathOf(loops(values, result.width, result.height)) };
  return mask;
}
