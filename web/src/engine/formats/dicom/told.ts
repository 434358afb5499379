/** What a DICOM header says of view, body part and how the film lies: `formats/dicom_told.py`. */

import type { Edge, Told } from "../../types";
import type { DataSet } from "./elements";

const LETTER = "[\\p{L}\\p{N}_]";
const BOUNDARY = `(?:(?<=${LETTER})(?!${LETTER})|(?<!${LETTER})(?=${LETTER}))`;

/** Return an expression in which \b and \w mean letters of any language, as in Python. */
function pattern(...parts: string[]): RegExp {
  return new RegExp(parts.join("").replaceAll("\\b", BOUNDARY).replaceAll("\\w", LETTER), "u");
}

const LATERAL_VIEWS = new Set(["ll", "rl", "llat", "rlat", "xtl", "xtlat", "ml", "lm"]);
const OBLIQUE_VIEWS = new Set(["llo", "rlo", "lao", "rao", "lpo", "rpo", "lo", "ro", "obl"]);
const FRONTAL_VIEWS = new Set(["pa", "ap", "lld", "rld"]); // decubitus films are frontal
const LATERAL = pattern(
  "\\b(([lr]t?)?lat(eral)?[lr]?|latero?|lateral(e|es|is|er|en|em)?|laterolateral|seitlich\\w*|profile?|perfil|x-?table|",
  "cross ?table)\\b",
  "(?! decub)",
);
const OBLIQUE = pattern("\\b(obl|obliqu\\w*|oblicu\\w*|schrag\\w*)\\b");
const FRONTAL = pattern(
  "\\b(pa|ap|p\\.a\\.?|a\\.p\\.?|postero ?anterior\\w*|antero ?posterior\\w*|front(al\\w*)?|decub\\w*|",
  "face|frente|(2|two|zwei) (views?|ebenen|proiezioni|proyecciones|incidences))\\b",
);
/** PS3.16 CID 4010 in SNOMED CT and SNOMED-RT: meanings may be in any language. */
const CODED_VIEWS: Record<string, string> = {
  lateral: "399067008 399173006 399198007 399260004 399352003 R-102CD R-10236 R-10232 R-10224 R-10228",
  oblique:
    "399182000 399135007 399006002 399356000 399038007 399184004 399236003 399160007 399312000 399059000 " +
    "R-102C1 R-10220 R-10212 R-40985 R-10210 R-10238 R-10234 R-10204 R-10208 R-10216",
  frontal: "399033003 399348003 272479007 R-10202 R-10206 R-10214 R-40888",
};
const VIEW_OF_CODE = new Map(Object.entries(CODED_VIEWS).flatMap(([view, codes]) => codes.split(" ").map((code) => [code, view] as const)));
const FREE_TEXT = ["SeriesDescription", "ProtocolName", "AcquisitionDeviceProcessingDescription"];

const CHEST = pattern(
  "chest|thora|torax|torac|toraks|toras|poitrin|borst(?!el)|pecho|petto|bryst|brost|peito|hrud|klatk|",
  "thx|cxr|lung|pulm|poumon|\\brib|cost(al|ae)|heart|cardia|torso|trunk|whole ?body|babygram|brust|airway|",
  "bronch|mediastin|trachea",
);
/** Of PS3.16 annex L and hospitals' own lists; a part that is none of these may be a chest in any language. */
const OTHER_PART = pattern(
  "\\b(abd\\w*|pelv\\w*|beck\\w*|bassin|bacino|hips?|hufte?|hanche|cadera|anca|femur|thighs?|legs?|bein|",
  "oberschenkel|unterschenkel|knees?|kneejoint|knie\\w*|genou|rodilla|ginocchio|joelho|patella|tib ?fib\\w*|",
  "tibia|fibula|calf|ankles?|sprunggelenk|cheville|tobillo|caviglia|calcaneus|heel|foot|feet|fuss|pied|",
  "pie|piede|toes?|zehen?|hallux|hands?|main|mano|mao|fingers?|thumbs?|daumen|doigt|dedo|dito|wrists?|",
  "handgelenk|poignet|muneca|polso|forearms?|unterarm|radius|ulna|elbows?|ellenbogen|coude|codo|gomito|",
  "humerus|oberarm|upper arm|arms?|shoulders?|schulter\\w*|epaule|hombro|spalla|ombro|clavic\\w*|scapula|",
  "ac joints?|skulls?|schadel|crane|craneo|cranio|heads?|kopf|tete|cabeza|testa|cabeca|brain|hirn|orbits?|",
  "eyes?|nose|nasal\\w*|nasenbein|sinus\\w*|nnh|face|facial|jaw|mandib\\w*|maxill\\w*|tmj|zygoma|teeth|tooth|",
  "dental|ears?|mastoid\\w*|neck|hals|cou|cuello|collo|larynx|pharynx|([a-z]{1,2} ?)?spine|headneck|",
  "wirbelsaule|hws|lws|bws|rachis|columna|colonna|coluna|cervical\\w*|lumb\\w*|sacr\\w*|coccyx|sijoint|",
  "breasts?|mamm\\w*|bladder|kidneys?|renal|nieren?|urinary\\w*|ivu|stomach|magen|colon|bowel|rectum|liver|",
  "leber|gallbladder|pancreas|spleen|adrenal|thyroid|tongue|mouth|sternum|uterus|prostate|extremit\\w*|",
  "(up|low)(per|er)? ?(limbs?|legs?|arms?|extremit\\w*|exm)|limbs?|\\w*joints?|",
  "[lr](arm|legs?|hands?|foot|knee|hip|ankle|wrist|elbow|shoulder)|haende|schaedel|hueft\\w*|ellbogen|",
  "(meta)?(carp|tars)(us|als?)|phalan\\w*|os calcis|o?esophag\\w*|duodenum|jejunum|ileum|ilium|kub|ivp|",
  "ureters?|urethra|ovar\\w*|vagina|vulva|cervix|penis|scrotum|testi\\w*|axilla\\w*|carotid\\w*|parotid\\w*|",
  "submandibular|cerebr\\w*|cerebell\\w*|circleofwillis|scalp|cheeks?|cornea|eyelids?|iac|optic ?canal|opg|",
  "panoramic|cephalo\\w*)\\b",
);

/** Return what the header says; nothing where it says nothing, or contradicts itself in free text. */
export function toldBy(data: DataSet): Told {
  const orientation = orientationOf(data);
  const onItsSide = orientation !== undefined && "HF".includes(orientation[0]) && !"HF".includes(orientation[1]);
  const edge = orientation && { rightEdge: orientation[0] };
  return { view: viewOf(data, orientation), bodyPart: bodyPartOf(data), onItsSide, ...edge };
}

function viewOf(data: DataSet, orientation: [Edge, Edge] | undefined): Told["view"] {
  const position = plain(data.words("ViewPosition"));
  const first = position.split(" ")[0]; // as in "LL ERECT"
  if (LATERAL_VIEWS.has(first) && !FRONTAL.test(position)) return "lateral"; // "LL DECUB" is frontal
  if (OBLIQUE_VIEWS.has(first)) return "oblique";
  if (FRONTAL_VIEWS.has(position)) return "frontal"; // "PA LATERAL" is none
  const coded = plain(data.words("ViewCodeSequence"));
  for (const said of [position, viewOfCodes(data), coded]) {
    if (OBLIQUE.test(said)) return "oblique";
    if (LATERAL.test(said)) return "lateral";
    if (FRONTAL.test(said)) return "frontal";
  }
  if (coded === "" && orientation && "AP".includes(orientation[0]) && "HF".includes(orientation[1])) return "lateral";
  const said = plain(data.words(...FREE_TEXT)).replaceAll("profile", ""); // there it is a setting's
  return LATERAL.test(said) && !FRONTAL.test(said) ? "lateral" : undefined;
}

/** Return the view that a code tells, whatever language its meaning is in; "" for none. */
function viewOfCodes(data: DataSet): string {
  const views = data.items("ViewCodeSequence").map((item) => VIEW_OF_CODE.get(item.text("CodeValue")));
  return views.find((view) => view !== undefined) ?? "";
}

/** Return the word for a part of the body that is not the chest, at most 30 plain letters. */
function bodyPartOf(data: DataSet): string | undefined {
  const part = plain(data.words("BodyPartExamined") || data.words("AnatomicRegionSequence"));
  if (CHEST.test(part) || !OTHER_PART.test(part)) return undefined;
  return part.replace(/[^a-z ]+/g, " ").slice(0, 30).trim() || undefined;
}

/** Return words without accents, each apart from the next by one blank. */
function plain(text: string): string {
  const bare = text.normalize("NFKD").replace(/\p{Mn}/gu, "").replaceAll("ø", "o").replaceAll("ß", "ss");
  return bare.replace(/[^\p{L}\p{N}_.]|_/gu, " ").split(/\s+/).filter(Boolean).join(" ");
}

/** Return the main direction of rows and of columns. */
function orientationOf(data: DataSet): [Edge, Edge] | undefined {
  const given = data.values("PatientOrientation").map((part) => String(part).trim().toUpperCase().slice(0, 1));
  return given.length === 2 && given.every((part) => part !== "" && "APLRHF".includes(part)) ? (given as [Edge, Edge]) : undefined;
}
