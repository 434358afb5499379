"""Names of films: ids as file names and in sentences, and what well-known collections put into file names.

Compilations (QaTa-COV19, COVID-QU-Ex, V7) keep the names of the collections they drew from:

- BIMCV-COVID19: `sub-S09345_ses-E23117_run-1_bp-chest_vp-ap_dx.png`: subject S09345, view AP
  (Medical Imaging Data Structure; arXiv 2006.01174).
- Chest X-Ray Images (Pneumonia), Kermany et al. (doi:10.17632/rscbjbr9sj.2): `person63_bacteria_306.jpeg`
  is patient 63, `IM-0115-0001.jpeg` and `NORMAL2-IM-0115-0001.jpeg` are study 115.
- NIH ChestX-ray14 (Wang et al., CVPR 2017): `00012345_003.png` is film 3 of patient 12345.
"""

import hashlib
import re
from collections.abc import Iterable

_PATIENTS = (
    (re.compile(r"(?:^|[_ ])sub-(S\d+)_"), "bimcv-{}"),
    (re.compile(r"^(person\d+)_(?:bacteria|virus)_\d+", re.IGNORECASE), "kermany-{}"),
    (re.compile(r"^(?:NORMAL2-)?(IM-\d+)-\d+", re.IGNORECASE), "kermany-{}"),
    (re.compile(r"^(\d{8})_\d{3}$"), "nih-{}"),
)
_COLLECTIONS = ("bimcv-", "kermany-", "nih-", "cohen-")  # the last: see `v7_covid19`
_VIEW = re.compile(r"_vp-([a-z]+)", re.IGNORECASE)
_VIEWS = {"ap": "AP", "pa": "PA", "ll": "lateral", "lat": "lateral", "l": "lateral"}


def plain_name(identity: str, keep: str = "_.-") -> str:
    """Return `identity` where it is letters, digits and `keep`; else what is left of it, with a hash.

    Two ids never share a name, and a name never leads out of its folder.

    >>> plain_name("JPCLN001"), plain_name("Normal (1)"), plain_name("Normal (1)", keep="_.-() ")
    ('JPCLN001', 'Normal-1-5c4234c1', 'Normal (1)')
    """
    plain = re.sub(rf"[^A-Za-z0-9{re.escape(keep)}]+", "-", identity).strip("-. ")
    if plain == identity:
        return identity
    return f"{plain}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"


def some_of(identities: Iterable[str], most: int = 3) -> str:
    """Return the first few ids for a sentence, and how many more there are.

    >>> some_of(["a", "b"]), some_of("abcdef")
    ("'a', 'b'", "'a', 'b', 'c' and 3 more")
    """
    every = [repr(identity) for identity in identities]
    named = ", ".join(every[:most])
    return f"{named} and {len(every) - most} more" if len(every) > most else named


def patient_in(stem: str) -> str | None:
    """Return the patient that a file's stem names, None where it names none.

    >>> patient_in("sub-S09345_ses-E23117_run-1_bp-chest_vp-ap_dx"), patient_in("covid_12")
    ('bimcv-S09345', None)
    """
    for pattern, name in _PATIENTS:
        match = pattern.search(stem)
        if match:
            return name.format(match[1])
    return None


def person(source: str, patient_id: str) -> tuple[str, str]:
    """Return who a patient is: a number counts within its source, a collection's name in every source.

    >>> person("qata_cov19", "bimcv-S09345") == person("covid_qu_ex", "bimcv-S09345")
    True
    >>> person("a", "12") == person("b", "12")
    False
    """
    return ("", patient_id) if patient_id.startswith(_COLLECTIONS) else (source, patient_id)


def view_in(stem: str) -> str | None:
    """Return the view ("AP", "PA", "lateral") that a file's stem names, None where it names none."""
    match = _VIEW.search(stem)
    return _VIEWS.get(match[1].lower()) if match else None
