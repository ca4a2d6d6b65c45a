"""``run --train``: a recipe made into one that cleans a finished training set.

The passages of the set are the corpus, its negatives the candidates, and what the rules let pass is
written back as the set was (``export --format as-input``). A recipe whose settings read no source
mines nothing; one whose settings do keeps its sources, for what they say of the given negatives.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from negmine import log
from negmine.errors import NegmineError, UsageError
from negmine.params import Params
from negmine.params.export import ExportParams
from negmine.params.filter import FilterParams
from negmine.params.index import IndexParams
from negmine.params.rerank import RerankParams
from negmine.params.retrieve import RetrieveParams
from negmine.params.values import named
from negmine.sources import given
from negmine.stages.export import AS_INPUT
from negmine.stages.filter import options
from negmine.table import schemas


def inputs(found: Mapping[str, Sequence[str] | None], number: int) -> dict[str, Any]:
    """The inputs of a run that is given ``--train``.

    Args:
        found: files by option.
        number: of the round.

    Raises:
        UsageError: other options say what is mined.
    """
    known = {name: specs for name, specs in found.items() if specs}
    train = known.pop("train")
    for name in ("pairs", "qrels"):
        if name in known:
            raise UsageError(
                f"--train brings queries and positives along, so --{name} has no use",
                hint=f"Leave --{name} out.",
            )
    if train == ["-"]:
        raise UsageError(
            "--train: what standard input gives has no name to be written back under",
            hint="Name a file; negmine run RECIPE --pairs - reads one from there.",
        )
    if number > 1:
        raise UsageError(
            "--train and --round: a finished set is cleaned once, and no model mines",
            hint="Leave one of them out.",
        )
    return {**known, "pairs": train}


def of_train(params: Mapping[str, Params], changes: Sequence[str]) -> dict[str, Params]:
    """The parameters of a recipe for a finished training set.

    Args:
        params: of every stage.
        changes: what ``run --set`` says: it stays.
    """
    own = {_key(change.partition("=")[0]) for change in changes}
    if not _reads_sources(params):
        params = _given_only(params, own)
    else:
        log.event(
            "the recipe's settings read what its sources say: candidates are mined as it asks, and "
            "of them only the given negatives are written back"
        )
    export, filtering = params["export"], params["filter"]
    assert isinstance(export, ExportParams)
    assert isinstance(filtering, FilterParams)
    if "export.format" in own and export.format != AS_INPUT:
        return dict(params)
    # What the recipe says of other layouts stays out; what the command line says is looked at.
    said = {field.name for field in fields(export) if f"export.{_key(field.name)}" in own}
    said |= {"promoted", "unjudged", "allow_empty", "memory"}
    kept = {name: getattr(export, name) for name in said - {"format"}}
    written = ExportParams(format=AS_INPUT, **kept)
    # What survives goes out, however many: the number that a recipe asks for would call most
    # queries of a set with fewer short.
    of_filter = replace(filtering, prefer_given=True)
    if "filter.num-negatives" not in own:
        of_filter = replace(of_filter, num_negatives=1, quota=())
    return {**params, "filter": of_filter, "export": written}


def output(params: Params, train: Sequence[str]) -> str | None:
    """The name of the result: the training set's own where it is written back."""
    if not isinstance(params, ExportParams) or params.format != AS_INPUT:
        return None
    from negmine.inputs.in_place import only_file

    return Path(only_file(train).files[0].name).name


def _key(name: str) -> str:
    return name.replace("_", "-")


def _reads_sources(params: Mapping[str, Params]) -> bool:
    """Whether settings need what a source says of candidates, besides the scorers."""
    filtering, rerank = params["filter"], params["rerank"]
    assert isinstance(filtering, FilterParams)
    assert isinstance(rerank, RerankParams)
    scorers = list(named(rerank.scorer, "--scorer"))
    if not scorers or rerank.top_by is not None:
        return True
    if options.wants_prior(filtering) or options.wants_relevance(filtering):
        return True
    schema = schemas.with_scores(schemas.candidates([given.NAME], [given.NAME]), scorers)
    try:
        options.resolve(filtering, schema)
    except NegmineError:
        return True
    return False


def _given_only(params: Mapping[str, Params], own: Collection[str]) -> dict[str, Params]:
    """The same without a search: an index of documents, and the given negatives alone."""
    index, retrieve = params["index"], params["retrieve"]
    assert isinstance(index, IndexParams)
    assert isinstance(retrieve, RetrieveParams)
    if "retrieve.source" in own:
        return dict(params)
    made: dict[str, Any] = {"bm25": False, "encoder": (), "clusters": None, "ann": None}
    asked: dict[str, Any] = {"source": (given.NAME,), "run": (), "band": (), "ann": None}
    return {**params, "index": replace(index, **made), "retrieve": replace(retrieve, **asked)}
