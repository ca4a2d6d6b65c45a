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

from negmine import log, rules
from negmine.errors import NegmineError, UsageError
from negmine.params import Params
from negmine.params.export import ExportParams
from negmine.params.filter import FilterParams
from negmine.params.filter_choice import ChoiceOptions
from negmine.params.index import IndexParams
from negmine.params.rerank import RerankParams
from negmine.params.retrieve import RetrieveParams
from negmine.params.values import named
from negmine.params.write import TRAINING_SETS, WriteParams
from negmine.sources import given
from negmine.stages import cascade
from negmine.stages.export import AS_INPUT
from negmine.stages.filter import options
from negmine.table import schemas

#: Of the options of ``filter`` that say which survivors are taken, those that drop some, or label.
_KEPT = frozenset(
    (
        *("pseudo_positive", "seed", "weight", "weight_by", "weight_student"),
        *("weight_above", "weight_sigma", "weight_temperature"),
    )
)


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
    write = params["write"]
    assert isinstance(write, WriteParams)
    if write.kind in TRAINING_SETS:
        log.event(f"the set is cleaned, and no {write.kind} written: for those, give it as --pairs")
        write = WriteParams()
        params = {**params, "write": write}
    own = {_key(change.partition("=")[0]) for change in changes}
    export = params["export"]
    assert isinstance(export, ExportParams)
    back = "export.format" not in own or export.format == AS_INPUT
    if back:
        params = _written_back(params, own)
    if not _reads_sources(params):
        return _given_only(params, own)
    mined = "candidates are mined" if write.kind is None else "texts are written, candidates mined,"
    ends = ", and of them only the given negatives are written back" if back else ""
    log.event(f"the recipe's settings read what its sources say: {mined} as it asks{ends}")
    return dict(params)


def _written_back(params: Mapping[str, Params], own: Collection[str]) -> dict[str, Params]:
    """The same with all that survives written back; ``own`` are the keys of ``run --set``."""
    export, filtering = params["export"], params["filter"]
    assert isinstance(export, ExportParams)
    assert isinstance(filtering, FilterParams)
    # What the recipe says of other layouts stays out; what the command line says is looked at.
    said = {field.name for field in fields(export) if f"export.{_key(field.name)}" in own}
    said |= {"promoted", "unjudged", "allow_empty", "memory"}
    kept = {name: getattr(export, name) for name in said - {"format"}}
    written = ExportParams(format=AS_INPUT, **kept)
    # Nothing is drawn: what survives goes out, however many. The number that a recipe draws would
    # call most queries of a set with fewer short.
    drawn = [field for field in fields(ChoiceOptions) if field.name not in _KEPT]
    every: dict[str, Any] = {field.name: field.default for field in drawn}
    every |= {"num_negatives": 1, "prefer_given": True}
    if not any(rule.ranks != "none" for rule in rules.asked(filtering)):
        every["rank_by"] = None
    every = {key: value for key, value in every.items() if f"filter.{_key(key)}" not in own}
    return {**params, "filter": replace(filtering, **every), "export": written}


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
    before = schemas.candidates([given.NAME], [given.NAME])
    try:
        cascade.cascade(rerank, scorers, before)
        options.resolve(filtering, schemas.with_scores(before, scorers))
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
