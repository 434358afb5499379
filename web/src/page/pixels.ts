/** The few films whose pixels are at hand; others are read again from their file when they are looked at. */
import { computed, signal } from "@preact/signals";
import type { Embedded, Film } from "../engine/api";

const KEPT = 3;

export interface Pixels {
  film: Film;
  /** Of the model that is open; undefined after another was opened. */
  embedded?: Embedded;
}

const kept = new Map<number, Pixels>();
/** Counts changes, so that the viewer knows when pixels have come. */
const changes = signal(0);

export const changed = computed(() => changes.value);

/** The pixels of a film, if they are at hand. */
export function pixelsOf(id: number): Pixels | undefined {
  return kept.get(id);
}

/** Keep pixels; `spared` is a film that is being looked at and stays. */
export function keep(id: number, pixels: Pixels, spared: number | null): void {
  kept.delete(id);
  kept.set(id, pixels);
  for (const other of [...kept.keys()]) {
    if (kept.size <= KEPT) break;
    if (other !== spared && other !== id) kept.delete(other);
  }
  changes.value++;
}

export function forget(id: number): void {
  kept.delete(id);
}

/** Another model was opened: what the last one made of the films counts no more. */
export function forgetEmbeddings(): void {
  for (const pixels of kept.values()) delete pixels.embedded;
}
