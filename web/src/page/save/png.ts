/** Masks and overlays as PNG, as the shell writes them. */
import { encode } from "fast-png";
import type { Film } from "../../engine/api";
import { unpack } from "../bits";
import type { Outlined, Window } from "../types";

const COLOUR = [26, 166, 255];
const BOX = [255, 200, 0];
const FILL = 0.25;

/** An 8-bit PNG of 0 and 255, on the film's own grid. */
export function maskPng(result: Outlined): Uint8Array {
  const { width, height } = result;
  const data = unpack(result.bits, width * height);
  for (let index = 0; index < data.length; index++) data[index] *= 255;
  return encode({ width, height, data, channels: 1, depth: 8 });
}

/** The film as it is windowed, the mask tinted with its contour, and the box that was given. */
export function overlayPng(film: Film, result: Outlined, window: Window, inverted: boolean, box?: number[]): Uint8Array {
  const { width, height } = result;
  const mask = unpack(result.bits, width * height);
  const line = Math.max(1, Math.round(Math.max(width, height) / 400));
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const place = y * width + x;
      const shown = Math.min(1, Math.max(0, (film.grey[place] - window.centre) / window.width + 0.5));
      const grey = 255 * (inverted ? 1 - shown : shown);
      const opacity = !mask[place] ? 0 : isEdge(mask, width, height, x, y, line) ? 1 : FILL;
      for (let channel = 0; channel < 3; channel++) {
        data[3 * place + channel] = grey * (1 - opacity) + COLOUR[channel] * opacity + 0.5;
      }
    }
  }
  if (box) drawBox(data, width, box, line);
  return encode({ width, height, data, channels: 3, depth: 8 });
}

/** Whether a pixel of the mask lies among the outermost `line` ones. */
function isEdge(mask: Uint8Array, width: number, height: number, x: number, y: number, line: number): boolean {
  for (let step = 1; step <= line; step++) {
    if (x < step || y < step || x + step >= width || y + step >= height) return true;
    const place = y * width + x;
    if (!mask[place - step] || !mask[place + step] || !mask[place - step * width] || !mask[place + step * width]) return true;
  }
  return false;
}

function drawBox(data: Uint8Array, width: number, box: number[], line: number): void {
  const [left, top, right, bottom] = box.map(Math.round);
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++) {
      const isLine = x < left + line || x >= right - line || y < top + line || y >= bottom - line;
      if (isLine) data.set(BOX, 3 * (y * width + x));
    }
  }
}
