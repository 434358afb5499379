/** What this browser lacks to run the engine, as a sentence. */

import { BundleError } from "./types";

const LEAST_MEMORY = 1; // GiB, as the browser tells it: below, a film and a model do not fit side by side

// a module whose one function adds two vectors: valid only where WebAssembly has SIMD
const SIMD = Uint8Array.of(
  ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 5, 1, 0x60, 0, 1, 0x7b, 3, 2, 1, 0, 10, 10, 1, 8, 0],
  ...[0x41, 0, 0xfd, 0x0f, 0xfd, 0x62, 0x0b],
);

/** Return why the engine cannot run here; undefined where it can. */
export function unsupported(): string | undefined {
  if (typeof WebAssembly !== "object") return "This browser has no WebAssembly: use a current Firefox, Chrome, Edge or Safari.";
  if (!WebAssembly.validate(SIMD)) return "This browser has no WebAssembly SIMD: update it, or use a current Firefox, Chrome, Edge or Safari.";
  const memory = (globalThis.navigator as { deviceMemory?: number } | undefined)?.deviceMemory;
  if (memory !== undefined && memory < LEAST_MEMORY) {
    return `This device has ${memory} GB of memory, too little for a film and a model: use another one.`;
  }
  return undefined;
}

/** Refuse to go on where something is lacking. */
export function checkSupport(): void {
  const lacking = unsupported();
  if (lacking !== undefined) throw new BundleError(lacking);
}

/** Tell whether an error is one of memory that ran out. */
export function isOutOfMemory(error: unknown): boolean {
  return error instanceof RangeError || /memory|allocat/i.test(String(error));
}
