/** Elements of a DICOM data set read without trust: what is missing or cannot be parsed is undefined. */

import type { DicomElement, DicomElements } from "dcmjs";
import dcmjs from "dcmjs";

const GROUPS = ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"];

const LATIN = new TextDecoder("latin1").decode(Uint8Array.from({ length: 256 }, (_, byte) => byte));

/** What is faulty in a header, to be answered with a notice. */
export class Unusable extends Error {}

export class DataSet {
  constructor(
    readonly elements: DicomElements,
    readonly syntax: string,
    readonly little: boolean,
  ) {}

  element(key: string): DicomElement | undefined {
    const tag = dcmjs.data.DicomMetaDictionary.nameMap[key]?.tag.replace(/[(),]/g, "");
    return tag === undefined ? undefined : this.elements[tag];
  }

  values(key: string): unknown[] {
    const value = this.element(key)?.Value;
    return Array.isArray(value) ? value : value === undefined || value === null ? [] : [value];
  }

  has(key: string): boolean {
    return this.element(key) !== undefined;
  }

  /** Tell whether an element is there with more than blanks. */
  filled(key: string): boolean {
    return this.values(key).some((value) => value !== undefined && value !== null && String(value).trim() !== "");
  }

  /** Return the first value of a numeric element where it is a finite number. */
  number(key: string): number | undefined {
    return asNumber(this.values(key)[0]);
  }

  whole(key: string, otherwise = 0): number {
    return Math.trunc(this.number(key) ?? otherwise);
  }

  /** Return the first values of two numeric elements that need each other; undefined where both are missing. */
  pair(first: string, second: string): [number, number] | undefined {
    const [a, b] = [this.number(first), this.number(second)];
    if (a !== undefined && b !== undefined) return [a, b];
    if (this.filled(first) || this.filled(second)) throw new Unusable("not two numbers");
    return undefined;
  }

  text(key: string): string {
    const value = this.values(key)[0];
    return value === undefined || value === null ? "" : String(value).replace(/[\0 ]+$/, "");
  }

  /** Return the data sets of a sequence. */
  items(key: string): DataSet[] {
    return this.values(key)
      .filter((item): item is DicomElements => typeof item === "object" && item !== null)
      .map((item) => new DataSet(item, this.syntax, this.little));
  }

  /** Return the bytes of an element that holds them. */
  bytes(key: string): Uint8Array | undefined {
    const value = this.values(key)[0];
    if (value instanceof ArrayBuffer) return new Uint8Array(value);
    return value instanceof Uint8Array ? value : undefined;
  }

  set(key: string, vr: string, value: unknown): void {
    const tag = dcmjs.data.DicomMetaDictionary.nameMap[key]?.tag.replace(/[(),]/g, "");
    if (tag !== undefined) this.elements[tag] = { vr, Value: [value] };
  }

  remove(key: string): void {
    const tag = dcmjs.data.DicomMetaDictionary.nameMap[key]?.tag.replace(/[(),]/g, "");
    if (tag !== undefined) delete this.elements[tag];
  }

  /** Return the text of some elements, and the meanings of those that are coded, in small letters. */
  words(...keys: string[]): string {
    const one = (all: unknown[]): string[] => (all.length === 1 ? [String(all[0])] : []); // several are no text
    const found = keys.flatMap((key) =>
      key.endsWith("Sequence") ? this.items(key).map((item) => this.decoded(item.text("CodeMeaning"))) : one(this.values(key)),
    );
    return found.join(" ").toLowerCase().split(/\s+/).filter(Boolean).join(" ");
  }

  /** Return the text of an item, which dcmjs takes for Latin-1 whatever the file says; of UTF-8 as it is. */
  private decoded(text: string): string {
    if (this.text("SpecificCharacterSet") !== "ISO_IR 192") return text;
    const bytes = Array.from(text, (letter) => LATIN.indexOf(letter));
    return bytes.includes(-1) ? text : new TextDecoder().decode(Uint8Array.from(bytes));
  }

  /** Give the one frame of an enhanced object its functional groups' elements at the top (PS3.3 C.7.6.16). */
  flatten(): void {
    for (const group of GROUPS) {
      for (const frame of this.items(group).slice(0, 1)) {
        for (const { vr, Value } of Object.values(frame.elements)) {
          const inner = vr === "SQ" && Array.isArray(Value) ? (Value[0] as DicomElements | undefined) : undefined;
          for (const [tag, element] of Object.entries(inner ?? {})) {
            const own = this.elements[tag];
            if (own === undefined || !own.Value?.some((value) => String(value).trim() !== "")) this.elements[tag] = element;
          }
        }
      }
    }
  }
}

/** Return a value as a finite number, undefined where it is none. */
export function asNumber(value: unknown): number | undefined {
  if (typeof value !== "number" && (typeof value !== "string" || value.trim() === "")) return undefined;
  const found = Number(value);
  return Number.isFinite(found) ? found : undefined;
}
