"""Other packages' sources: ``--source NAME=plugin:SOURCE``, found by their entry points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from negmine import plugins
from negmine.params.per_model import for_model
from negmine.params.retrieve import RetrieveParams
from negmine.plugins import Plugin
from negmine.sources.base import Source
from negmine.sources.kind import Kind, Opening, SourceRef
from negmine.table.artifacts.reading import Artifact


def _choose(
    params: RetrieveParams, wanted: Mapping[str, str], index: Artifact
) -> Sequence[SourceRef]:
    parsed = {
        name: plugins.parse("source", plugins.PREFIX + spec, "--source")
        for name, spec in wanted.items()
    }
    return [
        SourceRef(
            name, partial(_open, name, plugin, argument), identity=[plugin.identity, argument]
        )
        for name, (plugin, argument) in parsed.items()
    ]


def _open(name: str, plugin: Plugin, argument: str | None, opening: Opening) -> Source:
    made: Source = plugin.load()(argument, opening.corpus, for_model(opening.params, name))
    return made


#: A source's own code is given the options with the values that are for it.
_BY_NAME = ("batch_size", "trust_remote_code")
PLUGIN = Kind(
    "plugin", _choose, scheme=plugins.SCHEME, usage=f"{plugins.PREFIX}SOURCE", by_name=_BY_NAME
)
