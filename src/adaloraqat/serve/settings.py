"""How a server is set up: where it listens, whom it lets in, and what it takes at most."""

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from adaloraqat.errors import AdaloraqatError

TOKEN_VARIABLE = "ADALORAQAT_TOKEN"
SHORTEST_TOKEN = 16  # characters: fewer can be guessed


@dataclass(frozen=True)
class ServerSettings:
    """What the command line sets.

    Attributes:
        host: address or name to listen on.
        port: 0 lets the system choose.
        token: what clients must show; None: nothing.
        allowed_hosts: names besides those of the loopback under which clients may call.
        max_bytes: of a request's body.
        deadline_s: from a film's arrival to its answer.
        client_s: that a client may take to send its header, and again its body.
        drain_s: that requests in progress get after a stop.
        open_requests: how many may be open at once, those included that send their film.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = field(default=None, repr=False)
    allowed_hosts: tuple[str, ...] = ()
    max_bytes: int = 64 << 20
    deadline_s: float = 30.0
    client_s: float = 20.0
    drain_s: float = 30.0
    open_requests: int = 256

    def check(self) -> None:
        """Refuse to be reachable from other computers without a token.

        Raises:
            AdaloraqatError: it would be; says what to do.
        """
        if not is_loopback(self.host) and self.token is None:
            raise AdaloraqatError(
                f"--host {self.host} lets other computers in, so a token is needed: put at least "
                f"{SHORTEST_TOKEN} characters into a file for --token-file, or into {TOKEN_VARIABLE}."
            )


def is_loopback(host: str) -> bool:
    """Return whether an address, or a name without looking it up, can only mean this computer."""
    name = host.strip("[]").lower()
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def read_token(file: Path | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the token of a file, or else of the environment; None where neither gives one.

    Raises:
        AdaloraqatError: the file cannot be read, or the token is too short or no plain text.
    """
    if file is not None:
        try:
            token = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise AdaloraqatError(
                f"The token file {file.name} cannot be read: check its path and permissions."
            ) from error
        where = f"The token file {file.name}"
    else:
        token = environment.get(TOKEN_VARIABLE, "").strip()
        where = TOKEN_VARIABLE
        if not token:
            return None
    if len(token) < SHORTEST_TOKEN or not (token.isascii() and token.isprintable()) or " " in token:
        raise AdaloraqatError(
            f"{where} holds no token of at least {SHORTEST_TOKEN} plain characters without spaces: write "
            "one, such as `openssl rand -hex 32` gives."
        )
    return token
