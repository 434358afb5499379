"""What a DICOM header says of a film's content: view, part of the body, and how it lies (no patient data)."""

import re
import unicodedata

from pydicom import Dataset
from pydicom.sequence import Sequence

from adaloraqat.radiograph.film import Told
from adaloraqat.radiograph.formats.dicom_header import element, values, words

_LATERAL_VIEWS = {"ll", "rl", "llat", "rlat", "xtl", "xtlat", "ml", "lm"}
_OBLIQUE_VIEWS = {"llo", "rlo", "lao", "rao", "lpo", "rpo", "lo", "ro", "obl"}
_FRONTAL_VIEWS = {"pa", "ap", "lld", "rld"}  # decubitus films are frontal
_LATERAL = re.compile(
    r"\b(([lr]t?)?lat(eral)?[lr]?|latero?|lateral(e|es|is|er|en|em)?|laterolateral|seitlich\w*|"
    r"profile?|perfil|x-?table|cross ?table)\b"
    r"(?! decub)"
)
_OBLIQUE = re.compile(r"\b(obl|obliqu\w*|oblicu\w*|schrag\w*)\b")
_FRONTAL = re.compile(
    r"\b(pa|ap|p\.a\.?|a\.p\.?|postero ?anterior\w*|antero ?posterior\w*|front(al\w*)?|decub\w*|"
    r"face|frente|(2|two|zwei) (views?|ebenen|proiezioni|proyecciones|incidences))\b"
)
_CODED_VIEWS = {  # PS3.16 CID 4010 in SNOMED CT and SNOMED-RT: meanings may be in any language
    "lateral": "399067008 399173006 399198007 399260004 399352003 R-102CD R-10236 R-10232 R-10224 R-10228",
    "oblique": "399182000 399135007 399006002 399356000 399038007 399184004 399236003 399160007 399312000 "
    "399059000 R-102C1 R-10220 R-10212 R-40985 R-10210 R-10238 R-10234 R-10204 R-10208 R-10216",
    "frontal": "399033003 399348003 272479007 R-10202 R-10206 R-10214 R-40888",
}
_VIEW_OF_CODE = {code: view for view, codes in _CODED_VIEWS.items() for code in codes.split()}
_FREE_TEXT = ("SeriesDescription", "ProtocolName", "AcquisitionDeviceProcessingDescription")

_CHEST = re.compile(
    r"chest|thora|torax|torac|toraks|toras|poitrin|borst(?!el)|pecho|petto|bryst|brost|peito|hrud|klatk|"
    r"thx|cxr|lung|pulm|poumon|\brib|cost(al|ae)|heart|cardia|torso|trunk|whole ?body|babygram|brust|airway|"
    r"bronch|mediastin|trachea"
)
# Of PS3.16 annex L and hospitals' own lists; a part that is none of these may be a chest in any language.
_OTHER_PART = re.compile(
    r"\b(abd\w*|pelv\w*|beck\w*|bassin|bacino|hips?|hufte?|hanche|cadera|anca|femur|thighs?|legs?|bein|"
    r"oberschenkel|unterschenkel|knees?|kneejoint|knie\w*|genou|rodilla|ginocchio|joelho|patella|tib ?fib\w*|"
    r"tibia|fibula|calf|ankles?|sprunggelenk|cheville|tobillo|caviglia|calcaneus|heel|foot|feet|fuss|pied|"
    r"pie|piede|toes?|zehen?|hallux|hands?|main|mano|mao|fingers?|thumbs?|daumen|doigt|dedo|dito|wrists?|"
    r"handgelenk|poignet|muneca|polso|forearms?|unterarm|radius|ulna|elbows?|ellenbogen|coude|codo|gomito|"
    r"humerus|oberarm|upper arm|arms?|shoulders?|schulter\w*|epaule|hombro|spalla|ombro|clavic\w*|scapula|"
    r"ac joints?|skulls?|schadel|crane|craneo|cranio|heads?|kopf|tete|cabeza|testa|cabeca|brain|hirn|orbits?|"
    r"eyes?|nose|nasal\w*|nasenbein|sinus\w*|nnh|face|facial|jaw|mandib\w*|maxill\w*|tmj|zygoma|teeth|tooth|"
    r"dental|ears?|mastoid\w*|neck|hals|cou|cuello|collo|larynx|pharynx|([a-z]{1,2} ?)?spine|headneck|"
    r"wirbelsaule|hws|lws|bws|rachis|columna|colonna|coluna|cervical\w*|lumb\w*|sacr\w*|coccyx|sijoint|"
    r"breasts?|mamm\w*|bladder|kidneys?|renal|nieren?|urinary\w*|ivu|stomach|magen|colon|bowel|rectum|liver|"
    r"leber|gallbladder|pancreas|spleen|adrenal|thyroid|tongue|mouth|sternum|uterus|prostate|extremit\w*|"
    r"(up|low)(per|er)? ?(limbs?|legs?|arms?|extremit\w*|exm)|limbs?|\w*joints?|"
    r"[lr](arm|legs?|hands?|foot|knee|hip|ankle|wrist|elbow|shoulder)|haende|schaedel|hueft\w*|ellbogen|"
    r"(meta)?(carp|tars)(us|als?)|phalan\w*|os calcis|o?esophag\w*|duodenum|jejunum|ileum|ilium|kub|ivp|"
    r"ureters?|urethra|ovar\w*|vagina|vulva|cervix|penis|scrotum|testi\w*|axilla\w*|carotid\w*|parotid\w*|"
    r"submandibular|cerebr\w*|cerebell\w*|circleofwillis|scalp|cheeks?|cornea|eyelids?|iac|optic ?canal|opg|"
    r"panoramic|cephalo\w*)\b"
)


def told_by(dataset: Dataset) -> Told:
    """Return what the header says; nothing where it says nothing, or contradicts itself in free text."""
    orientation = _orientation(dataset)
    return Told(
        view=_view(dataset, orientation),
        body_part=_body_part(dataset),
        on_its_side=_is_on_its_side(orientation),
        right_edge=orientation[0] if orientation is not None else None,
    )


def _view(dataset: Dataset, orientation: tuple[str, str] | None) -> str | None:
    position = _plain(words(dataset, "ViewPosition"))
    first = position.partition(" ")[0]  # as in "LL ERECT"
    if first in _LATERAL_VIEWS and not _FRONTAL.search(position):  # "LL DECUB" is frontal
        return "lateral"
    if first in _OBLIQUE_VIEWS:
        return "oblique"
    if position in _FRONTAL_VIEWS:  # "PA LATERAL" is none
        return "frontal"
    coded = _plain(words(dataset, "ViewCodeSequence"))
    for said in (position, _view_of_codes(dataset), coded):
        if _OBLIQUE.search(said):
            return "oblique"
        if _LATERAL.search(said):
            return "lateral"
        if _FRONTAL.search(said):
            return "frontal"
    if not coded and orientation and orientation[0] in "AP" and orientation[1] in "HF":
        return "lateral"
    said = _plain(words(dataset, *_FREE_TEXT)).replace("profile", "")  # there it is a setting's
    return "lateral" if _LATERAL.search(said) and not _FRONTAL.search(said) else None


def _view_of_codes(dataset: Dataset) -> str:
    """Return the view that a code tells, whatever language its meaning is in; "" for none."""
    items = element(dataset, "ViewCodeSequence")
    items = items if isinstance(items, Sequence) else ()
    codes = [code for item in items for code in values(item, "CodeValue")[:1]]
    return next((_VIEW_OF_CODE[code] for code in codes if code in _VIEW_OF_CODE), "")


def _body_part(dataset: Dataset) -> str | None:
    """Return the word for a part of the body that is not the chest, at most 30 plain letters."""
    part = _plain(words(dataset, "BodyPartExamined") or words(dataset, "AnatomicRegionSequence"))
    if _CHEST.search(part) or not _OTHER_PART.search(part):
        return None
    return re.sub(r"[^a-z ]+", " ", part)[:30].strip() or None


def _plain(text: str) -> str:
    """Return words without accents, each apart from the next by one blank."""
    bare = "".join(
        letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter)
    )
    return " ".join(re.sub(r"[^\w.]|_", " ", bare.replace("ø", "o").replace("ß", "ss")).split())


def _is_on_its_side(orientation: tuple[str, str] | None) -> bool:
    """Return whether the film lies on its side: rows of an upright one do not run to the head or the feet."""
    return orientation is not None and orientation[0] in "HF" and orientation[1] not in "HF"


def _orientation(dataset: Dataset) -> tuple[str, str] | None:
    """Return the main direction of rows and of columns: one of A, P, L, R, H, F each."""
    given = [part.strip().upper()[:1] for part in values(dataset, "PatientOrientation")]
    return (
        (given[0], given[1]) if len(given) == 2 and all(part and part in "APLRHF" for part in given) else None
    )
