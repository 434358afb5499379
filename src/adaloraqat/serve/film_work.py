"""What a worker process of the server does: one film from its bytes to the answer."""

import logging
import os
import re
import signal
import tempfile
import traceback
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaloraqat.batch.film_entry import FilmEntry
from adaloraqat.bundle.format import WHOLE
from adaloraqat.bundle.prompts import as_arguments
from adaloraqat.bundle.segmenter import Segmenter
from adaloraqat.errors import AdaloraqatError, BundleError, FilmError
from adaloraqat.radiograph import (
    read_film,
    read_header,
    read_mask,
    write_mask,
    write_overlay,
    write_png,
)
from adaloraqat.radiograph.formats import picture_size
from adaloraqat.radiograph.masks import check_mask_shape
from adaloraqat.serve.film import (
    DEFECT,
    FILM,
    JSON,
    LARGE,
    MASK,
    OBJECTS,
    OVERLAY,
    FilmAnswer,
    FilmRequest,
    Refusal,
    TooLarge,
)

_LONGEST = 100  # characters of a name
_WARM = 64  # px: the side of the film that each model sees before the first request


@dataclass(frozen=True)
class SetUp:
    """Loads the models in a worker; pickles.

    Attributes:
        bundles: folder of each model by its name; the first is the default.
        engine: as `Segmenter.load` takes it.
        threads: of each model.
        max_pixels: films with more are refused before they are decoded.
        scratch: a folder; films in progress lie in one of its own for each process, named by `scratch_of`.
    """

    bundles: Mapping[str, Path]
    engine: str
    threads: int | None
    max_pixels: int
    scratch: Path

    def __call__(self) -> Callable[[FilmRequest], FilmAnswer | Refusal]:
        """Return what does a film, its models loaded and warm.

        Raises:
            BundleError: a model cannot be used.
        """
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the parent drains, then closes the pipe
        logging.disable()  # what libraries say of a film may name its patient, and no log may
        with open(os.devnull, "wb") as nowhere:
            for own in (1, 2):  # libtiff, for one, writes to stderr itself
                os.dup2(nowhere.fileno(), own)
        warnings.simplefilter("ignore")
        models = {
            name: Segmenter.load(folder, self.engine, self.threads) for name, folder in self.bundles.items()
        }
        for segmenter in models.values():
            if segmenter.bundle.prompt.automatic != WHOLE:
                with suppress(BundleError):  # refused, with its sentence, when it is asked to propose
                    _ = segmenter.proposer
            segmenter.segment(np.zeros((_WARM, _WARM), np.uint8))
        folder = scratch_of(self.scratch, os.getpid())
        folder.mkdir(mode=0o700)
        return _Work(models, self.max_pixels, folder)


class _Work:
    def __init__(self, models: Mapping[str, Segmenter], max_pixels: int, scratch: Path) -> None:
        self._models = models
        self._max_pixels = max_pixels
        self._scratch = scratch

    def __call__(self, request: FilmRequest) -> FilmAnswer | Refusal:
        """Answer one film; whatever is wrong with it is a refusal, never an exception."""
        try:
            with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
                return self._answer(request, Path(folder))
        except TooLarge as error:
            return Refusal(LARGE, str(error))
        except AdaloraqatError as error:
            return Refusal(FILM, str(error))
        except MemoryError:
            return Refusal(FILM, "Not enough memory for this film: use a smaller copy of it.")
        except Exception as error:
            return Refusal(DEFECT, place_of(error))

    def _answer(self, request: FilmRequest, folder: Path) -> FilmAnswer:
        segmenter = self._models[request.model or next(iter(self._models))]
        path = folder / safe_name(request.name)
        path.write_bytes(request.data)
        height, width = read_header(path).shape
        if height * width > self._max_pixels:
            raise TooLarge(
                f"{path.name} has {width} x {height} pixels: this server takes films of at most "
                f"{self._max_pixels / 1e6:g} megapixels."
            )
        if request.boxes is not None:
            return _boxes(segmenter, path, request)
        return _film(segmenter, path, request)


def _film(segmenter: Segmenter, path: Path, request: FilmRequest) -> FilmAnswer:
    if request.box is not None:  # what the model does not take is said before anything is read
        segmenter.check_box()
    if request.points or request.mask is not None:
        segmenter.check_points()
    source = None
    objects = [kind for kind in OBJECTS if kind in request.outputs]
    if objects:
        from adaloraqat.dicom_out import check_installed, read_source

        check_installed()
        source = read_source(path)  # refused before there is a mask
    film = read_film(path)
    prompts = as_arguments(request.points)
    if request.mask is not None:
        prompts["mask"] = _mask(path.parent, request.mask, request.mask_name, film.shape)
    result = segmenter.segment(film, request.box, request.prompt, **prompts)
    files: dict[str, bytes] = {}
    target = path.with_name(f"{path.name}.out")  # no name of a client's ends so: it would have to be ours
    if MASK in request.outputs:
        write_mask(target, result.mask)
        files[MASK] = target.read_bytes()
    if OVERLAY in request.outputs:
        write_overlay(target, film, result.mask, result.box)
        files[OVERLAY] = target.read_bytes()
    if source is not None:
        from adaloraqat.dicom_out import write_objects

        paths = {kind: path.with_name(f"{path.name}.{kind}") for kind in objects}
        write_objects(paths, source, result, segmenter.bundle)
        files.update({kind: place.read_bytes() for kind, place in paths.items()})
    entry = FilmEntry.of(result).to_dict()
    return FilmAnswer({**entry, "path": request.name}, files)


def _mask(folder: Path, data: bytes, name: str, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the mask (H, W) of a client's PNG."""
    within = folder / "prompt.out"  # so that it may have the film's name
    within.mkdir()
    path = within / safe_name(name)
    path.write_bytes(data)
    check_mask_shape(path, picture_size(path), shape)  # before it is decoded: it may hide a large picture
    return read_mask(path, shape)


def _boxes(segmenter: Segmenter, path: Path, request: FilmRequest) -> FilmAnswer:
    """Answer each box on its own; the picture has the number of the last box that encloses a pixel."""
    assert request.boxes is not None
    if request.outputs - {JSON, MASK}:
        raise FilmError("Boxes are answered with JSON or one label picture: ask for one of these.")
    film = read_film(path)
    height, width = film.shape
    spacing = film.spacing_mm
    labels = np.zeros(film.shape, np.uint8 if len(request.boxes) < 256 else np.uint16)
    objects: list[dict[str, Any]] = []
    answers = segmenter.segment_boxes(film, request.boxes)
    for label, (box, (mask, quality)) in enumerate(zip(request.boxes, answers, strict=True), 1):
        labels[mask] = label
        area = int(np.count_nonzero(mask))
        objects.append(
            {
                "label": label,
                "box": list(box),
                "quality": None if quality is None else round(quality, 4),
                "area_px": area,
                "area_mm2": round(area * spacing[0] * spacing[1], 2) if spacing else None,
            }
        )
    files: dict[str, bytes] = {}
    if MASK in request.outputs:
        target = path.with_name(f"{path.name}.out")
        write_png(target, labels)
        files[MASK] = target.read_bytes()
    entry = {
        "path": request.name,
        "width": width,
        "height": height,
        "spacing_mm": spacing,
        "objects": objects,
        "notices": film.notices,
        "error": None,
    }
    return FilmAnswer(entry, files)


def scratch_of(scratch: Path, pid: int) -> Path:
    """Return the folder of one process, which outlives it where it is killed."""
    return scratch / str(pid)


def safe_name(name: str) -> str:
    """Return a client's name of a film as a file's name: its last part, of harmless characters."""
    last = PurePosixPath(name.replace("\\", "/")).name
    plain = re.sub(r"[^\w.-]", "_", last, flags=re.ASCII).lstrip(".-")
    return plain[-_LONGEST:] or "film"


def place_of(error: BaseException) -> str:
    """Return the type and the place of an exception, without its text, which may hold what a film says."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}"
