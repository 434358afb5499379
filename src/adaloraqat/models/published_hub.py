"""Published weights from the Hugging Face Hub, by its own client; every failure is one sentence.

`HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE` work as they do for that client.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from adaloraqat.errors import CheckpointError
from adaloraqat.extras import install
from adaloraqat.files import sha256

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

    from adaloraqat.models.published_entry import Hub

CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""Files of weights: the first that a repository holds. The second is a pickle, read with `weights_only`."""


def download(name: str, hub: Hub, revision: str | None, folder: Path) -> tuple[str, list[str]]:
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
    try:
        from huggingface_hub import HfApi, hf_hub_download
        from huggingface_hub.utils import disable_progress_bars
        from huggingface_hub.utils.logging import CRITICAL, set_verbosity
    except ModuleNotFoundError as error:
        raise CheckpointError(
            f"{name} comes from the Hugging Face Hub, whose client is missing: run {install('hub')}, or give "
            "the downloaded folder with --from."
        ) from error
    if not sys.stderr.isatty():
        disable_progress_bars()
    set_verbosity(CRITICAL)  # what it says of its retries; what fails in the end is said here
    wanted = revision or hub.revision
    endpoint = os.environ.get("HF_ENDPOINT") or None  # as it is now; the client reads it when it is imported
    with _one_sentence(name, hub, wanted):
        facts = HfApi(endpoint=endpoint).model_info(hub.repository, revision=wanted, files_metadata=True)
        files = {sibling.rfilename: sibling for sibling in facts.siblings or []}
        weights = next((file for file in WEIGHTS if file in files), None)
        if facts.sha is None or weights is None or CONFIG not in files:
            raise CheckpointError(
                f"{hub.repository} at {wanted} holds no {CONFIG} with {' or '.join(WEIGHTS)}: choose another "
                "--revision."
            )
        for file in (CONFIG, weights):
            hf_hub_download(hub.repository, file, revision=facts.sha, local_dir=folder, endpoint=endpoint)
            _check(folder / file, files[file])
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # the client's own notes
    return facts.sha, [CONFIG, weights]


def _check(path: Path, said: RepoSibling) -> None:
    """Refuse a file that is not the listed one: by a large file's SHA-256, a small one's Git hash."""
    if said.lfs is not None:
        same = sha256(path) == said.lfs.sha256
    elif said.blob_id is not None:
        content = path.read_bytes()
        same = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == said.blob_id
    else:
        same = said.size in (None, path.stat().st_size)
    if not same:
        raise CheckpointError(f"{path.name} is not what the Hub announced: run the command again.")


@contextmanager
def _one_sentence(name: str, hub: Hub, revision: str) -> Iterator[None]:
    from huggingface_hub import errors

    elsewhere = "or give a folder that was downloaded elsewhere with --from"
    try:
        yield
    except CheckpointError:
        raise
    except errors.GatedRepoError as error:
        raise CheckpointError(
            f"{hub.repository} asks for consent: accept its terms on its page, set HF_TOKEN to a token of "
            "that account and run the command again."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise CheckpointError(
            f"The Hub shows no {hub.repository}: it is gone, or private, and then HF_TOKEN has to hold a "
            "token with access to it."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise CheckpointError(
            f"{hub.repository} has no revision {revision!r}: give one of its commits, branches or tags."
        ) from error
    except errors.OfflineModeIsEnabled as error:
        raise CheckpointError(
            f"{name} cannot be downloaded while HF_HUB_OFFLINE is set: unset it, {elsewhere}."
        ) from error
    except errors.HfHubHTTPError as error:
        code = error.response.status_code if error.response is not None else "an error"
        raise CheckpointError(
            f"The Hub answers {code} for {hub.repository}: try again later, {elsewhere}."
        ) from error
    except OSError as error:
        if error.errno is not None and not isinstance(error, (ConnectionError, TimeoutError)):
            raise  # the disk's, which the caller knows how to say
        raise CheckpointError(_lost(name, elsewhere)) from error
    except Exception as error:  # the client's transport raises kinds of its own
        raise CheckpointError(_lost(name, elsewhere)) from error


def _lost(name: str, elsewhere: str) -> str:
    return (
        f"{name} could not be downloaded from the Hugging Face Hub (no connection, or it was lost): check "
        "the "
        f"network, {elsewhere}."
    )
