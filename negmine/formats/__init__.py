"""What trainers read: one pure function per layout, chosen by name."""

from __future__ import annotations

import importlib
import importlib.metadata

from negmine.errors import MissingDependencyError, UsageError, did_you_mean
from negmine.formats.base import Format

#: Layout -> "module:FORMAT"; modules are imported only when asked for.
FORMATS = {
    "triplet": "negmine.formats.sentence_transformers:TRIPLET",
    "n-tuple": "negmine.formats.sentence_transformers:N_TUPLE",
    "labeled-pair": "negmine.formats.sentence_transformers:LABELED_PAIR",
    "labeled-list": "negmine.formats.sentence_transformers:LABELED_LIST",
    "flagembedding": "negmine.formats.flagembedding:FLAGEMBEDDING",
    "tevatron": "negmine.formats.tevatron:TEVATRON",
    "pylate-kd": "negmine.formats.pylate:PYLATE_KD",
    "colbert": "negmine.formats.colbert:N_WAY",
    "colbert-triples": "negmine.formats.colbert:TRIPLES",
    "swift-embedding": "negmine.formats.swift:EMBEDDING",
    "swift-reranker": "negmine.formats.swift:RERANKER",
    "nemo": "negmine.formats.nemo:NEMO",
    "msmarco": "negmine.formats.msmarco:MSMARCO",
    "trec-run": "negmine.formats.trec:RUN",
    "trec-qrels": "negmine.formats.trec:QRELS",
}

#: Entry-point group in which other packages name their formats.
ENTRY_POINTS = "negmine.formats"


def known() -> dict[str, str]:
    """Every format's name and where it is defined, those of other packages included."""
    plugged = importlib.metadata.entry_points(group=ENTRY_POINTS)
    return {point.name: point.value for point in plugged} | FORMATS


def load(name: str) -> Format:
    """The format called ``name``.

    Raises:
        UsageError: there is none, or another package's is no :class:`Format`.
        MissingDependencyError: the package that defines it does not import.
    """
    formats = known()
    if name not in formats:
        raise UsageError(f"--format: no format '{name}'", hint=did_you_mean(name, formats))
    module, _, attribute = formats[name].partition(":")
    try:
        loaded = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise MissingDependencyError(
            f"--format: '{name}' cannot be loaded: {error}",
            where=formats[name],
            hint=f"It is a plug-in ({ENTRY_POINTS}): install or mend its package.",
        ) from error
    if not isinstance(loaded, Format):
        raise UsageError(
            f"--format: '{name}' is no negmine.formats.base.Format", where=formats[name]
        )
    return loaded


__all__ = ["ENTRY_POINTS", "FORMATS", "Format", "known", "load"]
