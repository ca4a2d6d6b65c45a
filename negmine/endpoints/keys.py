"""The key of an endpoint: from the environment, into one header, and nowhere else."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from negmine.errors import UsageError

#: What stands for a key wherever a text might hold one.
HIDDEN = "[key]"

_ANY = "NEGMINE_API_KEY"
#: The hosts to which a key of that variable may go: nobody else is sent somebody's key.
_OF_HOST = {"api.openai.com": "OPENAI_API_KEY"}


class Key:
    """A secret that does not show itself: not in ``repr``, pickles, copies or comparisons.

    Attributes:
        variable: the environment variable that it came from.
    """

    __slots__ = ("_secret", "variable")

    def __init__(self, secret: str, variable: str) -> None:
        self._secret = secret
        self.variable = variable

    def __repr__(self) -> str:
        return f"Key({HIDDEN} of {self.variable})"

    def __reduce__(self) -> str:
        raise TypeError("a key is not written anywhere")

    def header(self) -> str:
        """The value of ``Authorization``."""
        return f"Bearer {self._secret}"

    def hidden_in(self, text: str) -> str:
        """``text`` without the key: a server may say again what it was sent."""
        return text.replace(self._secret, HIDDEN)

    def hidden_in_bytes(self, content: bytes) -> bytes:
        """``content`` without the key."""
        return content.replace(self._secret.encode(), HIDDEN.encode())


def variables(name: str, url: str) -> Iterable[str]:
    """The environment variables that may hold the key of the model ``name``, the first counts."""
    yield f"{_ANY}_{re.sub('[^A-Z0-9]', '_', name.upper())}"
    yield _ANY
    own = _OF_HOST.get(urlsplit(url).hostname or "")
    if own is not None:
        yield own


def key_of(name: str, url: str) -> Key | None:
    """The key of the model ``name``, whose server is at ``url``; None where no variable is set.

    Raises:
        UsageError: it holds what no header can; the message names the variable and not the value.
    """
    for variable in variables(name, url):
        secret = os.environ.get(variable, "").strip()
        if not secret:
            continue
        if not secret.isascii() or not secret.isprintable() or " " in secret:
            raise UsageError(
                "the key holds a space, or a character that no key has",
                where=variable,
                hint="Set the variable to the key alone.",
            )
        return Key(secret, variable)
    return None
