"""Pushing a bundle to the Hugging Face Hub: its files and its model card in one commit. No torch needed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from adaloraqat import hub
from adaloraqat.bundle.format import DOCUMENT, Bundle
from adaloraqat.errors import OutputError
from adaloraqat.progress import Report
from adaloraqat.report.model_card import LICENCE_FILE, OTHER, Score, hub_licence, licence_text, model_card

if TYPE_CHECKING:
    from huggingface_hub import HfApi

CARD = "README.md"

logger = logging.getLogger(__name__)


class Push:
    """A repository of the Hub that a bundle is to be sent to.

    Made before the bundle is, so that a wrong name, a missing client or a missing token costs nothing.

    Attributes:
        repository: "owner/name".
        revision: the branch.
    """

    def __init__(self, repository: str, revision: str | None = None, private: bool = False) -> None:
        """Ask nothing of the Hub yet.

        Args:
            repository: "owner/name"; made if it is not there.
            revision: a branch, made if it is not there; None: `main`.
            private: make a private repository, and refuse one that is public.

        Raises:
            OutputError: the name is invalid, the client or a token is missing, or HF_HUB_OFFLINE is set.
        """
        hub.check_repository(repository, OutputError)
        self.repository, self.revision, self.private = repository, revision or hub.MAIN, private
        self._request = hub.Request(repository, repository, self.revision, OutputError, upload=True)
        self._api = self._client()

    def _client(self) -> HfApi:
        api = hub.client(self._request)
        from huggingface_hub import get_token, is_offline_mode
        from huggingface_hub.errors import OfflineModeIsEnabled

        with hub.told(self._request):
            if is_offline_mode():
                raise OfflineModeIsEnabled
        api.token = get_token()
        if not api.token:
            raise OutputError(
                f"{self.repository} cannot be uploaded without a token of the Hugging Face Hub: set "
                "HF_TOKEN, or run `hf auth login`."
            )
        return api

    def send(self, bundle: Bundle, scores: Sequence[Score] = (), report: Report = logger.info) -> str:
        """Upload a bundle, and the model card written from it, in one commit; return the commit's address.

        Nothing but `bundle.json`, the files that it names, README.md and, for a licence that the Hub does not
        know, LICENSE.md is sent. Files of these names there are replaced, others stay.

        Args:
            bundle: loaded, and so checked.
            scores: of this bundle, for the card.
            report: receives one line of text at a time.

        Raises:
            OutputError: no network, no permission, no such branch, or the Hub refuses the card. A repository
                that was made just before then stays, without files.
        """
        from huggingface_hub import CommitOperationAdd

        card = model_card(bundle, self.repository, scores)
        operations = [CommitOperationAdd(CARD, card.encode())]
        if hub_licence(bundle.licence)[0] == OTHER:
            operations.append(CommitOperationAdd(LICENCE_FILE, licence_text(bundle).encode()))
        operations += [
            CommitOperationAdd(name, str(bundle.folder / name)) for name in (DOCUMENT, *bundle.files)
        ]
        with hub.told(self._request):
            self._prepare()
            megabytes = sum(record.bytes for record in bundle.files.values()) / 1e6
            report(f"Uploading {bundle.name} ({megabytes:.3g} MB) to {self.repository}.")
            try:
                commit = self._api.create_commit(
                    self.repository,
                    operations,
                    commit_message=f"adaloraqat push: {bundle.name}",
                    revision=self.revision,
                )
            except ValueError as error:
                if isinstance(error, OSError):  # an answer of the Hub, which `told` knows
                    raise
                faults = " ".join(str(error).split())
                raise OutputError(f"The Hub refuses the model card of {bundle.name}: {faults}") from error
        return str(commit.commit_url)

    def _prepare(self) -> None:
        """Make the repository and the branch where they are not there, and keep private what is to be."""
        self._api.create_repo(self.repository, private=self.private or None, exist_ok=True)
        if self.private and not self._api.model_info(self.repository).private:
            raise OutputError(
                f"{self.repository} is public: make it private on its page, give another name, or leave out "
                "--private."
            )
        if self.revision != hub.MAIN:
            self._api.create_branch(self.repository, branch=self.revision, exist_ok=True)
