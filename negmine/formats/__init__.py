"""What trainers read: one pure function per layout, chosen by name."""

from __future__ import annotations

import importlib
from typing import Protocol

from negmine.formats.base import Chosen, Examples, Options

#: Layout -> "module:function"; modules are imported only when asked for.
FORMATS = {
    "triplet": "negmine.formats.sentence_transformers:triplet",
    "n-tuple": "negmine.formats.sentence_transformers:n_tuple",
    "labeled-pair": "negmine.formats.sentence_transformers:labeled_pair",
    "labeled-list": "negmine.formats.sentence_transformers:labeled_list",
}


class Format(Protocol):
    """Lays out the chosen rows as examples."""

    def __call__(self, chosen: Chosen, options: Options) -> Examples:
        """The examples of one part of the ledger."""


def load(name: str) -> Format:
    """The layout called ``name``."""
    module, _, function = FORMATS[name].partition(":")
    loaded: Format = getattr(importlib.import_module(module), function)
    return loaded
