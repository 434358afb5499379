"""Bundles from the Hugging Face Hub: fetched once at a commit, checked, kept, and found again offline.

They lie in `hub/OWNER--NAME/COMMIT/NAME` below the cache folder that ADALORAQAT_CACHE sets. Beside the
commits, `revisions.json` holds what each branch or tag stood for when the Hub was last asked.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaloraqat import downloads, hub
from adaloraqat.bundle.format import DOCUMENT, Bundle, load_bundle, parse_bundle
from adaloraqat.errors import BundleError, OutputError
from adaloraqat.files import cache_root, sha256, write_json
from adaloraqat.progress import Report

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

REVISIONS = "revisions.json"

_COMMIT = re.compile("[0-9a-f]{40}")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class HubBundle:
    """A bundle of the Hub that lies on this computer.

    Attributes:
        bundle: checked.
        commit: of the repository, 40 hexadecimal digits.
        notices: a sentence where the Hub could not be asked what the revision stands for today.
    """

    bundle: Bundle
    commit: str
    notices: tuple[str, ...] = ()


def fetch_bundle(repository: str, revision: str | None = None, report: Report = logger.info) -> HubBundle:
    """Return the bundle of a repository, fetched unless it is here whole.

    Only `bundle.json` and the files that it names are fetched. A commit that is here is loaded without
    asking anyone; of a branch or tag the Hub is asked for the commit, and where it gives no answer (no
    network, HF_HUB_OFFLINE) the last known one is taken with a notice.

    Args:
        repository: "owner/name".
        revision: a commit, branch or tag; None: `main`.
        report: receives one line of text at a time.

    Raises:
        BundleError: it cannot be fetched, is no bundle, or a file is not the one that its `bundle.json` or
            the Hub announces; nothing of it is kept.
        OutputError: it cannot be kept (no space, no permission).
    """
    hub.check_repository(repository, BundleError)
    wanted = revision or hub.MAIN
    cache = cache_root()
    if cache is None:
        raise BundleError(
            f"{repository} cannot be kept on this computer while ADALORAQAT_CACHE is off: set it to a folder."
        )
    home = cache.absolute() / "hub" / repository.replace("/", "--")
    if _COMMIT.fullmatch(wanted) and (bundle := _kept(home, repository, wanted)):
        return HubBundle(bundle, wanted)
    request = hub.Request(
        repository, repository, wanted, BundleError, "or copy the bundle here and load it by its path"
    )
    api = hub.client(request)
    with _disk(repository), hub.told(request):
        try:
            facts = api.model_info(repository, revision=wanted, files_metadata=True)
        except Exception as error:
            last = _last_known(home, repository, wanted) if hub.unreachable(error) else None
            if last is None:
                raise
            return last
        with downloads.alone(home.parent, home.name, report):
            found = _kept(home, repository, str(facts.sha)) or _fetch(api, request, facts, home, report)
            if not _COMMIT.fullmatch(wanted):
                write_json(home / REVISIONS, {**_revisions(home), wanted: facts.sha})
    return HubBundle(found, str(facts.sha))


def _fetch(api: Any, request: hub.Request, facts: ModelInfo, home: Path, report: Report) -> Bundle:
    repository, commit = request.repository, str(facts.sha)
    listed = {file.rfilename: file for file in facts.siblings or []}
    if DOCUMENT not in listed:
        raise BundleError(
            f"{repository} at {request.revision} is not a bundle, because it holds no {DOCUMENT}: give a "
            "repository that `adaloraqat push` wrote, or another revision."
        )
    with downloads.staging(home.parent, home.name) as staging:
        folder = staging / _name(repository)
        bundle = parse_bundle(
            folder, _document(hub.fetch(api, request, commit, listed[DOCUMENT], folder), repository)
        )
        lacking = next((name for name in bundle.files if name not in listed), None)
        if lacking is not None:
            raise BundleError(
                f"{repository} at {request.revision} lacks {lacking}, which its {DOCUMENT} names: tell its "
                "owner, or choose another revision."
            )
        megabytes = sum(record.bytes for record in bundle.files.values()) / 1e6
        report(f"Downloading {repository} ({megabytes:.3g} MB) from the Hugging Face Hub.")
        for name, record in bundle.files.items():
            path = hub.fetch(api, request, commit, listed[name], folder)
            if path.stat().st_size != record.bytes or sha256(path) != record.sha256.lower():
                raise BundleError(
                    f"{name} of {repository} is not the file that its {DOCUMENT} vouches for (size or "
                    "SHA-256 differ): tell its owner, or choose another revision."
                )
        shutil.rmtree(folder / ".cache", ignore_errors=True)  # the client's own notes
        home.mkdir(exist_ok=True)
        downloads.install(staging, home / commit)
    return load_bundle(home / commit / _name(repository))


def _document(path: Path, repository: str) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise BundleError(
            f"The {DOCUMENT} of {repository} is not JSON: tell its owner, or choose another revision."
        ) from error
    return document if isinstance(document, dict) else {}


def _kept(home: Path, repository: str, commit: str) -> Bundle | None:
    """Return what is here of a commit, unless it was damaged since."""
    folder = home / commit / _name(repository)
    try:
        return load_bundle(folder) if folder.is_dir() else None
    except BundleError:
        return None


def _last_known(home: Path, repository: str, revision: str) -> HubBundle | None:
    commit = _revisions(home).get(revision)
    bundle = None if commit is None else _kept(home, repository, commit)
    if commit is None or bundle is None:
        return None
    notice = (
        f"The Hugging Face Hub did not answer: the copy of {repository} on this computer is used, at commit "
        f"{commit[:12]}."
    )
    return HubBundle(bundle, commit, (notice,))


def _revisions(home: Path) -> dict[str, str]:
    try:
        found = json.loads((home / REVISIONS).read_text(encoding="utf-8"))
        return {name: commit for name, commit in found.items() if _COMMIT.fullmatch(commit)}
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return {}


def _name(repository: str) -> str:
    return repository.rpartition("/")[2]


@contextmanager
def _disk(repository: str) -> Iterator[None]:
    """Turn what the system says about the place of the bundle into one sentence."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{repository} cannot be kept ({error.strerror or error}): free some disk space, or set "
            "ADALORAQAT_CACHE to another folder."
        ) from error
