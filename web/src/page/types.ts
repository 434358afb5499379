/** What the page keeps of each film, and the words that its parts share. */
import type { DicomHeader, Prompt, Result, Spacing, Structures } from "../engine/api";

export type Stage = "waiting" | "reading" | "outlining" | "done" | "failed";

/** Grey values that are shown black and white: `centre` minus and plus half of `width`. */
export interface Window {
  centre: number;
  width: number;
}

/** A result whose masks are kept as one bit a pixel. */
export interface Outlined extends Omit<Result, "mask" | "structures"> {
  bits: Uint8Array;
  structures?: OutlinedStructures;
}

/** Structures whose masks are kept as one bit a pixel. */
export interface OutlinedStructures extends Omit<Structures, "right" | "heart"> {
  rightBits: Uint8Array;
  heartBits: Uint8Array;
}

/** What a film was asked for with: the steps so far, and which of them counts. */
export interface History {
  steps: Prompt[];
  at: number;
}

/** One film of the list. */
export interface Item {
  id: number;
  name: string;
  file: Blob;
  stage: Stage;
  /** Why there is no outline, in one sentence. */
  error?: string;
  width?: number;
  height?: number;
  format?: string;
  spacing?: Spacing;
  aspect?: number;
  dicom?: DicomHeader;
  notices: string[];
  result?: Outlined;
  /** Milliseconds from the file's bytes to the first outline. */
  milliseconds?: number;
  /** A picture of 96 px for the list, as a data address. */
  thumbnail?: string;
  window?: Window;
  history: History;
}

export type Tool = "pan" | "window" | "box" | "include" | "exclude";
export type Theme = "auto" | "light" | "dark";
export type Pane = "films" | "film" | "result";
export type SortKey = "order" | "name" | "quality" | "area" | "warnings" | "time";

/** A bundle that the server offers. */
export interface Model {
  name: string;
  outlines: string;
  licence: string;
  intended_use: string;
  accepts_points: boolean;
  accepts_box: boolean;
  files: Record<string, number>;
}

/** Whether there is anything but the model's own way in a prompt. */
export function isGiven(prompt: Prompt): boolean {
  return prompt.box !== undefined || (prompt.points?.length ?? 0) > 0;
}
