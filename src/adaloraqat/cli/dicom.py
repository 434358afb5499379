"""`segment --dicom`: which objects a film gets, and where. highdicom is imported when they are asked for."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from adaloraqat.bundle import Bundle, Segmentation
from adaloraqat.errors import AdaloraqatError

if TYPE_CHECKING:
    from adaloraqat.dicom_out import Source

FILM = "film"
ENDS = {"seg": "_seg.dcm", "sr": "_sr.dcm", "pr": "_pr.dcm", FILM: "_deidentified.dcm"}
"""By kind: how the names of files end. `FILM` is the de-identified film, to which the others then refer."""


def asked(dicom: str | None, deidentify: bool) -> tuple[str, ...]:
    """Return the kinds of objects that `--dicom` names, in the order of `ENDS`; none where it is not given.

    Raises:
        AdaloraqatError: an unknown kind, no kind, or `--deidentify` without `--dicom`.
    """
    if dicom is None:
        if deidentify:
            raise AdaloraqatError("--deidentify is for DICOM results: say which with --dicom seg,sr,pr.")
        return ()
    known = [kind for kind in ENDS if kind != FILM]
    names = [name.strip().lower() for name in dicom.split(",") if name.strip()]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        what = f"does not know {unknown[0]!r}" if unknown else "names nothing"
        raise AdaloraqatError(f"--dicom {what}: give one or more of {','.join(known)}.")
    return tuple(kind for kind in ENDS if kind in names or (kind == FILM and deidentify))


def paths(target: Path, kinds: Sequence[str]) -> dict[str, Path]:
    """Return the file of each kind; `target` is the film's place in the output folder, without suffix."""
    return {kind: target.with_name(target.name + ENDS[kind]) for kind in kinds}


class Objects:
    """Writes what was asked for; one instance serves all films of a call: a patient stays one patient."""

    def __init__(self, kinds: Sequence[str]) -> None:
        from adaloraqat.dicom_out import Deidentifier, check_installed

        check_installed()
        self._deidentifier = Deidentifier() if FILM in kinds else None

    def source(self, path: Path) -> "Source":
        """Return what the objects take from the film's header, before any work is done.

        Raises:
            FilmError: it is not a DICOM film, or its header does not allow it.
        """
        from adaloraqat.dicom_out import read_source

        return read_source(path, self._deidentifier)

    def write(
        self, paths: Mapping[str, Path], source: "Source", result: Segmentation, bundle: Bundle
    ) -> None:
        """Write the objects of one film.

        Raises:
            FilmError: the film's header does not allow it.
            OutputError: a file cannot be written.
        """
        from adaloraqat.dicom_out import write_objects

        write_objects(paths, source, result, bundle)
        if FILM in paths:
            source.save_film(paths[FILM])
