"""Phantom films with planted faults: what the audit must find, and nothing else."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageEnhance, ImageOps

from adaloraqat.datasets.manifest import read_manifest, write_manifest
from adaloraqat.datasets.phantom import write_phantoms

Change = Callable[[Image.Image], Image.Image]


def jpeg(quality: int) -> Change:
    def change(film: Image.Image) -> Image.Image:
        stream = io.BytesIO()
        film.save(stream, "JPEG", quality=quality)
        return Image.open(stream)

    return change


def cut(film: Image.Image) -> Image.Image:
    width, height = film.size
    return film.crop((int(0.04 * width), int(0.02 * height), int(0.97 * width), int(0.95 * height)))


CHANGES: dict[str, tuple[Change, str]] = {
    "copied": (lambda film: film, "exact"),
    "compressed": (jpeg(75), "near"),
    "smaller": (lambda film: film.resize((100, 100)), "near"),
    "squeezed": (lambda film: film.resize((160, 120)), "near"),
    "brighter": (lambda film: ImageEnhance.Brightness(film).enhance(1.25), "near"),
    "flatter": (lambda film: ImageEnhance.Contrast(film).enhance(0.6), "near"),
    "equalised": (ImageOps.equalize, "near"),
    "cut": (cut, "near"),
    "framed": (lambda film: ImageOps.expand(film, (20, 8, 12, 4)), "near"),
    "mirrored": (ImageOps.mirror, "mirrored"),
    "negative": (ImageOps.invert, "inverted"),
    "turned": (lambda film: film.rotate(180), "turned"),
}


@pytest.fixture
def changes() -> dict[str, tuple[Change, str]]:
    """What may have become of a film, and what the audit calls the copy."""
    return CHANGES


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 24 phantom films; its manifest has one film a patient and no splits."""
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantoms(folder, 24, seed=11, size=160)
    return folder


@pytest.fixture
def entries(films: Path):
    """The films' entries, each of a patient of its own, without split."""
    from dataclasses import replace

    found = read_manifest(films / "manifest.csv")
    seen: set[str] = set()
    single = [e for e in found if not (e.patient_id in seen or seen.add(e.patient_id))]
    return [replace(entry, split=None) for entry in single]


@pytest.fixture
def plant(tmp_path: Path):
    """Write a changed copy of a film's image with its mask; return the entry."""
    from dataclasses import replace

    def planted(entry, name: str, change: Change, patient: str | None = None, **fields):
        path = tmp_path / f"{name}.png"
        with Image.open(entry.path_image) as picture, Image.open(entry.path_mask) as outline:
            film, shape = picture.convert("L"), outline.convert("L")
        changed = change(film).convert("L")
        changed.save(path)
        mask = tmp_path / f"{name}-mask.png"
        shape.resize(changed.size).save(mask)
        return replace(
            entry,
            id=name,
            patient_id=patient or name,
            path_image=path,
            path_mask=mask,
            path_labels=None,
            **fields,
        )

    return planted


@pytest.fixture
def manifest(tmp_path: Path):
    """Write entries as a manifest and return its path."""

    def written(entries, name: str = "films.csv") -> Path:
        write_manifest(tmp_path / name, entries)
        return tmp_path / name

    return written
