"""Scorers of other packages: ``plugin:SCORER[/ARGUMENT]``."""

from __future__ import annotations

from functools import partial

from negmine import plugins
from negmine.params.per_model import for_model
from negmine.plugins import Plugin
from negmine.scorers.base import Scorer
from negmine.scorers.kind import Kind, Loading, ScorerRef


def _refer(rest: str) -> ScorerRef:
    spec = f"{plugins.PREFIX}{rest}"
    plugin, argument = plugins.parse("scorer", spec, "--scorer")
    return ScorerRef(spec, plugin.identity, partial(_load, plugin, argument))


def _load(plugin: Plugin, argument: str | None, loading: Loading) -> Scorer:
    """Another package's scorer is called with its argument, its parameters and the prompts."""
    params = for_model(loading.params, loading.name)
    made: Scorer = plugin.load()(argument, params, loading.prompts)
    return made


PLUGGED = Kind(_refer, scheme=plugins.SCHEME)
