/** What kind of DICOM object a file holds, by its SOP class: `formats/dicom.py`. */

import { FilmError } from "../../types";

const STORAGE = "1.2.840.10008.5.1.4.1.1.";
const KINDS: [string, string, string][] = [
  ["66.4", "SEG", "a segmentation"],
  ["66.5", "SEG", "a segmentation"],
  ["66.7", "SEG", "a segmentation"],
  ["66.8", "SEG", "a segmentation"],
  ["66.1", "REG", "a registration"],
  ["66.2", "FID", "fiducials"],
  ["66.3", "REG", "a registration"],
  ["66.6", "TRACT", "tracts"],
  ["66", "RAW", "raw data"],
  ["67", "RWV", "real world values"],
  ["68", "SURFACE", "a surface"],
  ["30", "PMAP", "a parametric map"],
  ["88.59", "KO", "a selection of key objects"],
  ["88", "SR", "a structured report"],
  ["11", "PR", "a presentation state"],
  ["9", "WAVEFORM", "a waveform"],
  ["104", "DOC", "a document"],
  ["4.2", "SPECTRO", "spectroscopy"],
  ["481", "RT", "an object of radiotherapy"],
  ["77.1.5.3", "OPT", "a measurement without an image"],
  ["78", "OPM", "a measurement without an image"],
  ["79", "OPM", "a measurement without an image"],
  ["80", "OPM", "a measurement without an image"],
];

/** Refuse an object without a film's pixels. */
export function checkHoldsFilm(sopClass: string, name: string): void {
  const part = sopClass.startsWith(STORAGE) ? sopClass.slice(STORAGE.length) : undefined;
  const kind =
    sopClass === "1.2.840.10008.1.3.10"
      ? ["", "DICOMDIR", "a list of files"]
      : KINDS.find(([start]) => part !== undefined && (part === start || part.startsWith(`${start}.`)));
  if (kind) throw new FilmError(`${name} is ${kind[2]} (${kind[1]}) and holds no film: give the CR or DX film it belongs to.`);
}
