/** What a DICOM header says of view, body part and how the film lies: `formats/dicom_header.py`. */

import type { Told } from "../../types";
import type { DataSet } from "./elements";

const LATERAL_VIEWS = new Set(["LL", "RL", "LAT", "LLAT", "RLAT", "LATERAL", "LEFT LATERAL", "RIGHT LATERAL", "XTL", "ML", "LM"]);
const OBLIQUE_VIEWS = new Set(["LLO", "RLO", "LAO", "RAO", "LPO", "RPO", "LO", "RO", "OBL", "OBLIQUE"]);
const FRONTAL_VIEWS = new Set(["PA", "AP", "LLD", "RLD"]); // decubitus films are frontal
const LATERAL = /\b(lat|lateral|latero-?lateral|seitlich|profil)\b(?! decub)/;
const OBLIQUE = /\boblique\b/;
const FRONTAL = /\b(pa|ap|p\.a\.?|a\.p\.?|postero-?anterior|antero-?posterior|frontal|decub\w*)\b/;
const FREE_TEXT = ["SeriesDescription", "ProtocolName", "AcquisitionDeviceProcessingDescription"];
const CHEST = /chest|thora|torax|thx|cxr|lung|pulm|\brib|cost(al|ae)|heart|cardia|torso|trunk|whole ?body|babygram|brust/;
const NO_PART = new Set(["", "UNKNOWN", "OTHER", "NONE", "NA", "N/A", "UNDEFINED", "UNSPECIFIED", "SKULL TO FEET"]);

/** Return what the header says; nothing where it says nothing, or contradicts itself in free text. */
export function toldBy(data: DataSet): Told {
  const orientation = orientationOf(data);
  const onItsSide = orientation !== undefined && "HF".includes(orientation[0]) && !"HF".includes(orientation[1]);
  const rightEdge = orientation?.[0];
  const edge = rightEdge === "L" || rightEdge === "R" ? { rightEdge } as const : {};
  return { view: viewOf(data, orientation), bodyPart: bodyPartOf(data), onItsSide, ...edge };
}

function viewOf(data: DataSet, orientation: string[] | undefined): Told["view"] {
  const position = data.words("ViewPosition").toUpperCase().replace(/_/g, " ").split(/\s+/).filter(Boolean).join(" ");
  if (LATERAL_VIEWS.has(position)) return "lateral";
  if (OBLIQUE_VIEWS.has(position)) return "oblique";
  if (FRONTAL_VIEWS.has(position)) return "frontal";
  const coded = data.words("ViewCodeSequence");
  if (OBLIQUE.test(coded)) return "oblique";
  const lies = orientation && "AP".includes(orientation[0]) && "HF".includes(orientation[1]);
  if (LATERAL.test(coded) || (coded === "" && lies)) return "lateral";
  if (coded || position) return FRONTAL.test(`${coded} ${position.toLowerCase()}`) ? "frontal" : undefined;
  const said = data.words(...FREE_TEXT).replace(/_/g, " ");
  return LATERAL.test(said) && !FRONTAL.test(said) ? "lateral" : undefined;
}

function bodyPartOf(data: DataSet): string | undefined {
  const part = data.words("BodyPartExamined") || data.words("AnatomicRegionSequence");
  if (NO_PART.has(part.toUpperCase()) || CHEST.test(part)) return undefined;
  return part.replace(/[^a-z ]+/g, " ").slice(0, 30).trim() || undefined;
}

function orientationOf(data: DataSet): string[] | undefined {
  const given = data.values("PatientOrientation").map((part) => String(part).trim().toUpperCase().slice(0, 1));
  return given.length === 2 && given.every((part) => part !== "" && "APLRHF".includes(part)) ? given : undefined;
}
