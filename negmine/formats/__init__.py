"""What trainers read: one pure function per layout, chosen by name."""

from __future__ import annotations

import importlib

from negmine import plugins
from negmine.errors import UsageError, did_you_mean
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
    "rerank-eval": "negmine.formats.rerank_eval:RERANK_EVAL",
    "trec-run": "negmine.formats.trec:RUN",
    "trec-qrels": "negmine.formats.trec:QRELS",
}


def known() -> list[str]:
    """Every format's name, those of other packages included."""
    return [*FORMATS, *(name for name in plugins.installed("format") if name not in FORMATS)]


def plugged(name: str) -> plugins.Plugin | None:
    """The plug-in that brings the format, or None where it is negmine's own."""
    return None if name in FORMATS else plugins.installed("format").get(name)


def load(name: str) -> Format:
    """The format called ``name``.

    Raises:
        UsageError: there is none, or another package's is no :class:`Format`.
        MissingDependencyError: the package that defines it does not import.
    """
    if name in FORMATS:
        module, _, attribute = FORMATS[name].partition(":")
        found: Format = getattr(importlib.import_module(module), attribute)
        return found
    plugin = plugged(name)
    if plugin is None:
        hint = did_you_mean(name, known())
        if name == "beir":
            hint = "An evaluation set in BEIR's layout is written by --beir FOLDER."
        raise UsageError(f"--format: no format '{name}'", hint=hint)
    loaded = plugin.load()
    if not isinstance(loaded, Format):
        raise UsageError(
            f"--format: '{name}' is no negmine.formats.base.Format", where=plugin.value
        )
    return loaded


__all__ = ["FORMATS", "Format", "known", "load", "plugged"]
