"""Published weights from the Hugging Face Hub; every failure is one sentence (`adaloraqat.hub`)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from adaloraqat import hub as the_hub
from adaloraqat.errors import CheckpointError

if TYPE_CHECKING:
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
