"""The kinds of source, in one place: nothing else knows them by name.

A kind is one module that ends in a :class:`~negmine.sources.kind.Kind`, and one line here.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from negmine.table.names import RESERVED, check_name

if TYPE_CHECKING:
    from negmine.sources.kind import Kind

#: Kind -> "module:KIND"; modules are imported only when they are asked for. An index lists what
#: there is one of in this order.
KINDS = {
    "bm25": "negmine.sources.bm25_kind:BM25",
    "dense": "negmine.sources.dense_kind:DENSE",
    "clusters": "negmine.sources.clusters_kind:CLUSTERS",
    "sparse": "negmine.sources.sparse_kind:SPARSE",
    "run": "negmine.sources.run_file:RUN",
    "metadata": "negmine.sources.metadata:METADATA",
    "random": "negmine.sources.random_documents:RANDOM",
    "neighbours": "negmine.sources.neighbours:NEIGHBOURS",
    "previous": "negmine.sources.previous:PREVIOUS",
    "written": "negmine.sources.written:WRITTEN_TEXTS",
    "cur": "negmine.sources.cur_kind:CUR",
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
    found = ((kind, kind.own_place) for kind in every())
    return next((kind for kind, own in found if own is not None and own.stage == stage), None)


def check_names(names: Iterable[str], option: str) -> None:
    """Refuse what cannot name a source or a scorer: also what a kind has one of in an index.

    Raises:
        UsageError: a name is no usable one, or is taken.
    """
    ones = {place.only for kind in every() for place in kind.places if place.only}
    for name in names:
        check_name(name, option, RESERVED | ones)
