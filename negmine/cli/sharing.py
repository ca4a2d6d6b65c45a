"""``--shard``: which share of a stage this process makes, and how others are told the command."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace

from negmine.cli.given_once import called_with
from negmine.engine import shares
from negmine.errors import UsageError

_OPTION = "--shard"
#: How a word begins that is an address, or gives one to an option or a name.
_ADDRESS = re.compile(r"([^\s:]*=)?[A-Za-z][\w+.-]*(://|::)")


def share_of(text: str | None) -> shares.Share:
    """What ``--shard`` asks for; without it all.

    Raises:
        UsageError: it names no shard, or others would read a secret in the command.
    """
    if text is None:
        return shares.WHOLE
    if text == shares.COLLECT:
        return shares.COLLECTING
    shard = shares.parse(text, os.environ)
    words = _without(called_with)
    for word, shown in zip(words, shown_words(words), strict=True):
        if word != shown:
            raise UsageError(
                "the address holds a password or a key, which would stand beside the parts: who "
                "collects reads the command there",
                where=shown,
                hint="Keep it in the environment, as your storage's manual tells.",
            )
    return replace(shard, command=words, folder=os.getcwd())


def shown_words(words: Sequence[str]) -> tuple[str, ...]:
    """The words of a command line as others may read them: no address in them holds a secret."""
    # Not before it is needed: it imports more than a command that shares nothing wants.
    from negmine.inputs.places import redacted

    return tuple(redacted(word) if _ADDRESS.match(word) else word for word in words)


def _without(words: Sequence[str]) -> tuple[str, ...]:
    """The words of a command line without the shard's."""
    left = []
    skip = False
    for word in words:
        if not skip and word != _OPTION and not word.startswith(f"{_OPTION}="):
            left.append(word)
        skip = word == _OPTION
    return tuple(left)
