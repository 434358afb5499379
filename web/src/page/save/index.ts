/** Files that a person saves. They are made in memory and handed to the browser; nothing is sent. */
import { zipSync } from "fflate";
import { usualWindow } from "../grey";
import { pixelsOf } from "../pixels";
import { bundle, films, inverted, update, version } from "../state";
import type { Item, Outlined } from "../types";
import { ensure } from "../work";
import { csvOf } from "./csv";
import { documentOf } from "./json";
import { maskPng, overlayPng } from "./png";

export type Kind = "mask" | "overlay" | "json" | "seg";

/** Save one file of a film's result; returns its name. */
export async function save(film: Item, kind: Kind): Promise<string> {
  const { result } = film;
  if (!result) throw new Error("there is no outline yet.");
  const stem = stemOf(film.name);
  if (kind === "mask") return hand(`${stem}_mask.png`, maskPng(result), "image/png");
  if (kind === "json") return hand(`${stem}.json`, text(documentOf([film])), "application/json");
  if (kind === "overlay") return hand(`${stem}_overlay.png`, await overlay(film, result), "image/png");
  const { segmentationOf } = await import("./seg");
  if (!film.dicom || !bundle.value) throw new Error("only a DICOM film has a patient and a study.");
  const object = segmentationOf(film.dicom, result, bundle.value, version.value);
  return hand(`${stem}_seg.dcm`, object, "application/dicom");
}

/** Save the results of all films; returns the file's name. */
export async function saveAll(kind: "csv" | "json" | "zip"): Promise<string> {
  const all = films.value;
  if (kind === "csv") return hand("results.csv", new TextEncoder().encode(csvOf(all)), "text/csv");
  if (kind === "json") return hand("results.json", text(documentOf(all)), "application/json");
  const names = maskNames(all);
  const entries: Record<string, Uint8Array> = {
    "results.csv": new TextEncoder().encode(csvOf(all, names)),
    "results.json": text(documentOf(all, names)),
  };
  for (const film of all) if (film.result) entries[names.get(film.id) ?? ""] = maskPng(film.result);
  return hand("masks.zip", zipSync(entries, { level: 0 }), "application/zip"); // PNG is compressed already
}

/** A name for each film's mask; two films of one name get numbers. */
function maskNames(all: Item[]): Map<number, string> {
  const names = new Map<number, string>();
  const taken = new Set<string>();
  for (const film of all) {
    const stem = film.name.replace(/\.[^./]+$/, "");
    let name = `${stem}_mask.png`;
    for (let number = 2; taken.has(name); number++) name = `${stem}-${number}_mask.png`;
    taken.add(name);
    names.set(film.id, name);
  }
  return names;
}

async function overlay(film: Item, result: Outlined): Promise<Uint8Array> {
  await ensure(film.id);
  const pixels = pixelsOf(film.id);
  if (!pixels) throw new Error("the film cannot be read any more: add it again.");
  const window = film.window ?? usualWindow(pixels.film.grey);
  if (!film.window) update(film.id, { window });
  const prompt = film.history.steps[film.history.at];
  return overlayPng(pixels.film, result, window, inverted.value, prompt.box);
}

/** A file's name without folders and without its suffix, as the shell names results. */
export function stemOf(name: string): string {
  return name.replace(/^.*\//, "").replace(/(?<=.)\.[^.]*$/, "");
}

const text = (document: unknown): Uint8Array => new TextEncoder().encode(`${JSON.stringify(document, null, 2)}\n`);

function hand(name: string, bytes: Uint8Array, kind: string): string {
  const address = URL.createObjectURL(new Blob([bytes as BlobPart], { type: kind }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
  return name;
}
