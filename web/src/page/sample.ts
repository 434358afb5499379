/** A drawn phantom to try the page with; it is loaded with the page, so that nothing is requested afterwards. */
import { signal } from "@preact/signals";
import address from "./phantom.png";

export const sample = signal<Blob | null>(null);

/** Load it; without it the page only lacks a button. */
export async function loadSample(): Promise<void> {
  try {
    sample.value = await (await fetch(address)).blob();
  } catch {
    sample.value = null;
  }
}
