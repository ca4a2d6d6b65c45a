"""``--shard``: which share of a stage this process makes, and how others are told the command."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from negmine.cli.given_once import called_with
from negmine.engine import shares

_OPTION = "--shard"


def share_of(text: str | None) -> shares.Share:
    """What ``--shard`` asks for; without it all.

    Raises:
        UsageError: it names no shard.
    """
    if text is None:
        return shares.WHOLE
    if text == shares.COLLECT:
        return shares.COLLECTING
    shard = shares.parse(text, os.environ)
    return replace(shard, command=_without(called_with), folder=os.getcwd())


def _without(words: Sequence[str]) -> tuple[str, ...]:
    """The words of a command line without the shard's."""
    left = []
    skip = False
    for word in words:
        if not skip and word != _OPTION and not word.startswith(f"{_OPTION}="):
            left.append(word)
        skip = word == _OPTION
    return tuple(left)
