"""The kinds of source, in one place: nothing else knows them by name.

A kind is one module that ends in a :class:`~negmine.sources.kind.Kind`, and one line here.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from negmine.errors import UsageError

if TYPE_CHECKING:
    from negmine.sources.kind import Kind

#: Kind -> "module:KIND"; modules are imported only when they are asked for. An index lists what
#: there is one of in this order.
KINDS = {
    "bm25": "negmine.sources.bm25_kind:BM25",
    "dense": "negmine.sources.dense_kind:DENSE",
    "run": "negmine.sources.run_file:RUN",
    "plugin": "negmine.sources.plugged:PLUGIN",
    "given": "negmine.sources.given:GIVEN",
    "judged": "negmine.sources.judged:JUDGED",
}


def load(name: str) -> Kind:
    """The kind called ``name``."""
    module, _, attribute = KINDS[name].partition(":")
    found: Kind = getattr(importlib.import_module(module), attribute)
    return found


def every() -> list[Kind]:
    """All kinds, in their order."""
    return [load(name) for name in KINDS]


def of_stage(stage: str | None) -> Kind | None:
    """The kind whose sources have artifacts of this stage; None where it is no source's own."""
    return next((kind for kind in every() if kind.places and kind.places[0].stage == stage), None)


def refuse_taken(names: Iterable[str], option: str) -> None:
    """Refuse names that belong to a kind of which an index has one.

    Raises:
        UsageError: one does.
    """
    taken = {place.only for kind in every() for place in kind.places}
    for name in names:
        if name in taken:
            raise UsageError(
                f"{option}: the name '{name}' is reserved", hint="Choose another name."
            )
