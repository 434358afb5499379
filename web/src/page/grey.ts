/** From a film's grey values to what a screen shows. */
import type { Window } from "./types";

const BINS = 4096;
const LOW = 0.005;
const HIGH = 0.995;

/** The window between the percentiles 0.5 and 99.5 of grey values in [0, 1], as the shell's overlay has it. */
export function usualWindow(grey: Float32Array): Window {
  const counts = new Uint32Array(BINS);
  for (let index = 0; index < grey.length; index++) counts[Math.min(BINS - 1, Math.max(0, grey[index] * BINS)) | 0]++;
  const low = percentile(counts, LOW * grey.length);
  const high = percentile(counts, HIGH * grey.length) + 1 / BINS;
  return { centre: (low + high) / 2, width: Math.max(high - low, 2 / BINS) };
}

function percentile(counts: Uint32Array, wanted: number): number {
  let seen = 0;
  for (let bin = 0; bin < counts.length; bin++) {
    seen += counts[bin];
    if (seen >= wanted) return bin / counts.length;
  }
  return 1;
}

/** Write grey values as opaque pixels; the array behind `image` is reused from call to call. */
export function render(grey: Float32Array, window: Window, inverted: boolean, image: ImageData): void {
  const pixels = new Uint32Array(image.data.buffer);
  const low = window.centre - window.width / 2;
  const scale = 255 / window.width;
  const flip = inverted ? 255 : 0;
  for (let index = 0; index < grey.length; index++) {
    let value = ((grey[index] - low) * scale + 0.5) | 0;
    value = value < 0 ? 0 : value > 255 ? 255 : value;
    value ^= flip;
    pixels[index] = 0xff000000 | (value << 16) | (value << 8) | value;
  }
}
