"""The Hugging Face Hub by its own client: how it is asked and checked, and what its failures say.

`HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE` work as they do for that client, which is imported only here,
and only when it is needed.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adaloraqat.errors import AdaloraqatError
from adaloraqat.extras import install
from adaloraqat.files import sha256

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoSibling

MAIN = "main"
"""The branch that every repository of the Hub has."""

_NAME = re.compile(r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?", re.ASCII)
_LONGEST_NAME = 96


@dataclass(frozen=True)
class Request:
    """What is asked of the Hub, for the sentences that say why it failed.

    Attributes:
        name: what sentences call the thing that is fetched or sent.
        repository: "owner/name".
        revision: a commit, branch or tag.
        error: the class of what is raised.
        otherwise: what else a user can do, for the end of a sentence: "or …".
        upload: whether the thing is sent.
    """

    name: str
    repository: str
    revision: str
    error: type[AdaloraqatError]
    otherwise: str = ""
    upload: bool = False

    def refusal(self, says: str, otherwise: bool = False) -> AdaloraqatError:
        """Return the error with this sentence, which ends with `otherwise` if that is wanted."""
        return self.error(f"{says}, {self.otherwise}." if otherwise and self.otherwise else f"{says}.")


def check_repository(repository: str, error: type[AdaloraqatError]) -> None:
    """Refuse what cannot be the name of a repository, by the Hub's rules; nothing is asked.

    Raises:
        AdaloraqatError: of the class `error`.
    """
    owner, _, name = repository.partition("/")
    forbidden = "--" in repository or ".." in repository or repository.endswith(".git")
    if forbidden or not all(_NAME.fullmatch(part) and len(part) <= _LONGEST_NAME for part in (owner, name)):
        raise error(
            f"{repository[:_LONGEST_NAME]!r} is not a repository of the Hugging Face Hub: give OWNER/NAME, "
            "such as my-clinic/lungs, of letters, digits, '-', '_' and '.'."
        )


def client(request: Request, token: str | None = None) -> HfApi:
    """Return the Hub's client, quiet, at the address that `HF_ENDPOINT` holds now.

    Raises:
        AdaloraqatError: of the request's class; the client is not installed.
    """
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.utils import disable_progress_bars
        from huggingface_hub.utils.logging import CRITICAL, set_verbosity
    except ModuleNotFoundError as error:
        raise request.refusal(
            f"{request.name} needs the client of the Hugging Face Hub, which is missing: run "
            f"{install('hub')}",
            otherwise=True,
        ) from error
    if not sys.stderr.isatty():
        disable_progress_bars()
    set_verbosity(CRITICAL)  # what it says of its retries; what fails in the end is said here
    # the client reads the address when it is imported
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, token=token)


def fetch(api: HfApi, request: Request, commit: str, file: RepoSibling, folder: Path) -> Path:
    """Download one listed file into `folder` and compare it with what the Hub announces of it.

    Raises:
        AdaloraqatError: of the request's class; it came otherwise than listed.
        Exception: whatever `told` turns into one sentence.
    """
    api.hf_hub_download(request.repository, file.rfilename, revision=commit, local_dir=folder)
    path = folder / file.rfilename
    if file.lfs is not None:  # a large file has its SHA-256, a small one Git's hash
        same = sha256(path) == file.lfs.sha256
    elif file.blob_id is not None:
        content = path.read_bytes()
        same = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == file.blob_id
    else:
        same = file.size in (None, path.stat().st_size)
    if not same:
        raise request.error(f"{path.name} is not what the Hub announced: run the command again.")
    return path


def unreachable(error: BaseException) -> bool:
    """Whether an exception of the client means that the Hub was not asked, or gave no answer."""
    from huggingface_hub import errors

    if isinstance(error, errors.OfflineModeIsEnabled):
        return True
    if isinstance(error, errors.HfHubHTTPError):
        return error.response is not None and error.response.status_code >= 500
    return not isinstance(error, AdaloraqatError) and not _of_the_disk(error)


def _of_the_disk(error: BaseException) -> bool:
    lost = isinstance(error, (ConnectionError, TimeoutError))
    return isinstance(error, OSError) and error.errno is not None and not lost


@contextmanager
def told(request: Request) -> Iterator[None]:
    """Turn whatever the client raises within into one sentence; the disk's errors pass as they are.

    Raises:
        AdaloraqatError: of the request's class.
        OSError: the disk's, which the caller knows how to say.
    """
    from huggingface_hub import errors

    repository, done = request.repository, "uploaded" if request.upload else "downloaded"
    try:
        yield
    except AdaloraqatError:
        raise
    except errors.GatedRepoError as error:
        raise request.refusal(
            f"{repository} asks for consent: accept its terms on its page, set HF_TOKEN to a token of that "
            "account and run the command again"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise request.refusal(
            f"The Hub does not show {repository}: it does not exist, or it is private and HF_TOKEN must hold "
            "a token with access to it"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise request.refusal(
            f"{repository} has no revision {request.revision!r}: give one of its commits, branches or tags"
        ) from error
    except errors.OfflineModeIsEnabled as error:
        raise request.refusal(
            f"{request.name} cannot be {done} while HF_HUB_OFFLINE is set: unset it", otherwise=True
        ) from error
    except errors.HfHubHTTPError as error:
        code = error.response.status_code if error.response is not None else "an error"
        if code in (401, 403):
            access = "may write to it" if request.upload else "may read it"
            raise request.refusal(
                f"The Hub refuses {repository} to this token ({code}): set HF_TOKEN to one that {access}"
            ) from error
        raise request.refusal(
            f"The Hub answers {code} for {repository}: try again later", otherwise=True
        ) from error
    except Exception as error:  # the client's transport raises kinds of its own
        if _of_the_disk(error):
            raise
        way = "to" if request.upload else "from"
        raise request.refusal(
            f"{request.name} could not be {done} {way} the Hugging Face Hub (no connection, or it was lost): "
            "check the network",
            otherwise=True,
        ) from error
