/**
 * What goes into the engine and what comes out of it.
 *
 * Frames are those of Python: pixels of the film, x to the right, y down, counted from 0; boxes are x_min, y_min,
 * x_max, y_max with right and bottom exclusive. Everything here but `Segmenter` and `EngineClient` is plain data,
 * which `postMessage` can copy.
 */

/** One chest X-ray, as `read_film` gives it. */
export interface Film {
  width: number;
  height: number;
  /** (H, W), row by row, in [0, 1]; bright = dense: lungs dark, spine bright. */
  grey: Float32Array;
  /** Distance of pixel centres in mm; missing where the film does not tell. */
  spacing?: Spacing;
  /** "PNG", "JPEG" or "DICOM". */
  format: string;
  /** What the reader had to decide, one sentence each, free of patient data. */
  notices: string[];
  /** "code: sentence" each; those about the film alone, known before any mask. */
  warnings: string[];
  /** How much higher than wide a pixel is; missing: 1. */
  aspect?: number;
  /** What the header says of the content. */
  told?: Told;
  /** Of a DICOM film what a segmentation object takes from its header. */
  dicom?: DicomHeader;
}

export interface Spacing {
  row: number;
  column: number;
}

/** What a header says of view, body part and how the film lies; undefined or false where it says nothing. */
export interface Told {
  view?: "frontal" | "lateral" | "oblique";
  /** A word for a part that is not the chest. */
  bodyPart?: string;
  onItsSide: boolean;
  /** Which direction of the patient the image's right edge shows; of an upright frontal film "L" or "R". */
  rightEdge?: Edge;
}

export type Edge = "L" | "R" | "A" | "P" | "H" | "F";

/** A DICOM film's header without its pixels. */
export interface DicomHeader {
  transferSyntax: string;
  /** Groups 0008, 0010, 0012, 0018, 0020 and 0028 in DICOM's JSON model: tag (8 digits) to VR and values. */
  elements: Record<string, { vr: string; Value?: unknown[] }>;
}

/** What is wrong with a film or a prompt, in one sentence: the shell's own where the cause is the same. */
export class FilmError extends Error {
  override name = "FilmError";
}

/** What is wrong with a bundle, in one sentence. */
export class BundleError extends Error {
  override name = "BundleError";
}

/** What a mask is asked for with, in pixels of the film. Nothing: the model's own way without a box. */
export interface Prompt {
  box?: [number, number, number, number];
  points?: { x: number; y: number; label: 0 | 1 }[];
}

/** The lungs of one film, on its own grid. */
export interface Result {
  width: number;
  height: number;
  /** (H, W), row by row: 1 in the lungs, else 0. */
  mask: Uint8Array;
  /** In [0, 1]: the expected Dice where `qualityError` is given, else the predicted IoU; NaN where there is neither. */
  quality: number;
  /** Standard deviation of the true Dice about the expected one. */
  qualityError?: number;
  /** Right lung, left lung and heart, of a model that tells them apart, where no prompt chose something else. */
  structures?: Structures;
  /** The box that gave the mask; the whole film where none was given. */
  box?: number[];
  /** "given", "whole film", "second pass" or "points". */
  boxSource: string;
  areaPx: number;
  areaMm2?: number;
  /** What makes the result doubtful, "code: sentence" each. */
  warnings: string[];
  notices: string[];
  /** From the film or its embedding to the mask. */
  seconds: number;
}

/** Lungs and heart of one film, and what is measured on them. */
export interface Structures {
  /** (H, W): 1 in the patient's right lung; the left one is the rest of the film's mask. */
  right: Uint8Array;
  /** (H, W): 1 in the whole heart, which may overlap the lungs. */
  heart: Uint8Array;
  sidesFrom: "header" | "standard view";
  sidesCertain: boolean;
  /** Whether nothing says that this is another view than an upright frontal one; of another neither sides nor ratios mean anything. */
  standardView: boolean;
  cardiothoracicRatio?: number;
  rightPx: number;
  leftPx: number;
  heartPx: number;
  rightMm2?: number;
  leftMm2?: number;
}

/** What a page shows of a bundle. */
export interface BundleInfo {
  name: string;
  /** What the masks outline, in words. */
  outlines: string;
  licence: string;
  intendedUse: string;
  imageSize: number;
  acceptsBox: boolean;
  acceptsPoints: boolean;
  qualityTrained: boolean;
  /** `bundle.json` as it stands. */
  document: Record<string, unknown>;
}

/** A film that was encoded once, to be decoded with any number of prompts: plain data, about 0.2 MB. */
export interface Embedded {
  /** (1, D, g, g). */
  embedding: Float32Array;
  dims: number[];
  /** Where the film lies on the model's square. */
  frame: FrameData;
  /** The film thinned to a thumbnail, which the plausibility rules look at. */
  thumbnail: { width: number; height: number; step: number; grey: Float32Array };
  spacing?: Spacing;
  told?: Told;
  notices: string[];
  warnings: string[];
  /** What preprocessing and encoding took. */
  seconds: number;
}

/** `Frame` of `radiograph/preprocess.py`: (H, W) of the film, (h, w) on the square, the square's side. */
export interface FrameData {
  original: [number, number];
  resized: [number, number];
  imageSize: number;
}

export interface SelfCheck {
  ok: boolean;
  /** What was found, for the page to show. */
  sentence: string;
}

export interface EngineOptions {
  /** Threads of the wasm backend; more than one only where the page is cross-origin isolated. */
  threads?: number;
}
