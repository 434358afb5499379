/** A bundle's document and files, checked before they are used: `bundle/format.py`. */

import type { QualityModel } from "./expected_quality";
import { checkPreprocessing } from "./preprocess";
import type { Preprocessing } from "./preprocess";
import { BundleError } from "./types";

const FORMAT_VERSION = 1;

/** What the engine reads of a bundle.json. */
export interface BundleDocument {
  format_version: number;
  name: string;
  preprocessing: Preprocessing;
  precision: { weight_range: string };
  prompt: { second_pass: boolean; quality_trained: boolean; accepts_box?: boolean; automatic?: string };
  outlines: string;
  licence: string;
  intended_use: string;
  files: Record<string, { sha256: string; bytes: number }>;
  smallest_part?: number;
  structures?: { mirrored_limit?: number };
  quality?: QualityModel | null;
}

export type Load = (file: string) => Promise<ArrayBuffer>;

/** Read and check `bundle.json`. */
export async function readDocument(load: Load): Promise<BundleDocument> {
  const content = await load("bundle.json");
  let document: BundleDocument;
  try {
    document = JSON.parse(new TextDecoder().decode(content)) as BundleDocument;
  } catch {
    throw new BundleError("The bundle is damaged: its bundle.json cannot be read; copy or export it again.");
  }
  if (!Number.isInteger(document.format_version)) {
    throw new BundleError("This is not an adaloraqat bundle, because its bundle.json states no format version: give a folder written by `adaloraqat export`.");
  }
  if (document.format_version > FORMAT_VERSION) {
    throw new BundleError(
      `The bundle '${document.name}' has format ${document.format_version}, and this version reads formats up to ${FORMAT_VERSION}: update adaloraqat, or export the bundle again.`,
    );
  }
  for (const key of ["preprocessing", "precision", "prompt", "files"] as const) {
    if (typeof document[key] !== "object") throw damaged(document.name, `its bundle.json lacks '${key}'`);
  }
  checkPreprocessing(document.preprocessing, document.name);
  return document;
}

/** Read a file that the bundle vouches for; refused where its size or SHA-256 differs. */
export async function readFile(load: Load, document: BundleDocument, name: string): Promise<ArrayBuffer> {
  const record = document.files[name];
  if (record === undefined) throw damaged(document.name, `its bundle.json does not list ${name}`);
  const content = await load(name);
  const same = content.byteLength === record.bytes && (await hasHash(content, record.sha256));
  if (!same) throw damaged(document.name, `its file ${name} is not the one exported (size or SHA-256 differ)`);
  return content;
}

async function hasHash(content: ArrayBuffer, wanted: string): Promise<boolean> {
  const subtle = globalThis.crypto?.subtle;
  if (subtle === undefined) return true; // a page that was not served securely has no hashes: the size must do
  const digest = new Uint8Array(await subtle.digest("SHA-256", content));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("") === wanted.toLowerCase();
}

function damaged(name: string, what: string): BundleError {
  return new BundleError(`The bundle '${name}' is damaged: ${what}; copy or export it again.`);
}
