"""A source of the index for another source that asks it: with whose options, and exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from negmine.params.per_model import names_in, of_model
from negmine.params.retrieve import RetrieveParams
from negmine.params.values import per_name
from negmine.sources import kinds
from negmine.sources.base import Source
from negmine.sources.kind import Another, Opening
from negmine.table.artifacts.reading import Artifact

#: Options of ``retrieve`` that say how queries are encoded.
OF_QUERIES = ("query_prompt", "batch_size", "trust_remote_code")


def said_of(params: RetrieveParams, name: str, other: str) -> RetrieveParams:
    """The options for a source ``other`` that the source ``name`` asks.

    What they say of the asking one by name goes before what they say of the other.
    """

    def said(option: str) -> Any:
        value = getattr(params, option)
        return of_model(value, name if name in names_in(value) else other)

    prompted = names_in(params.query_prompt)
    # Others' names are known: what begins with one is no prompt for all.
    known = dict.fromkeys([*prompted, other, name], "")
    prompts = per_name(params.query_prompt, known, "--query-prompt")
    prompt = prompts.get(name if name in prompted else other)
    changes = {option: said(option) for option in OF_QUERIES if option != "query_prompt"}
    prompt_entry = () if prompt is None else (f"{other}={prompt}",)
    return replace(params, ann=None, query_prompt=prompt_entry, **changes)


def asked(params: RetrieveParams, name: str, other: str, index: Artifact) -> Another:
    """The source ``other`` of the index for ``name``, without its approximate index.

    Raises:
        NegmineError: options of its kind that cannot be met.
    """
    kind = kinds.of_stage(index.inputs[other]["stage"])
    assert kind is not None, "a source of the index"
    own = said_of(params, name, other)
    (found,) = kind.choose(own, {other: ""}, index)
    return Another(
        replace(found, open=_with(own, found.open)),
        own=any(name in names_in(getattr(params, option)) for option in OF_QUERIES),
    )


def _with(
    params: RetrieveParams, opens: Callable[[Opening], Source | None]
) -> Callable[[Opening], Source | None]:
    return lambda opening: opens(replace(opening, params=params))
