"""``negmine.mine``: the names of ``mine_hard_negatives``, the stages of the command line.

Every argument of sentence-transformers' function is taken, so that moving over is one line; the
work is done by the same stages and leaves the same artifacts as the command line.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import numpy as np
import pyarrow.parquet as pq

from negmine import log
from negmine.addresses import located
from negmine.api import names, statistics
from negmine.api.inputs import corpus_of, model_of, pairs_of
from negmine.engine.shares import WHOLE
from negmine.errors import UsageError, did_you_mean
from negmine.models import shared
from negmine.params import values
from negmine.params.filter import FilterParams
from negmine.stages.stage import STAGES, chain, following, foresee, naming_models
from negmine.table.artifacts.replace import Replace
from negmine.table.candidates import open_candidates
from negmine.table.part import Part
from negmine.table.schemas import searched_names

if TYPE_CHECKING:
    import datasets

#: What the second text column of a layout is called; of positives alone or not, it keeps the name
#: that the positives had.
_SECOND = ("positive", "document", "documents")


def mine(
    pairs: datasets.Dataset
    | str
    | Path
    | Sequence[str | Path]
    | Sequence[tuple[str, str]]
    | Sequence[Mapping[str, Any]]
    | None = None,
    encoder: Any = None,
    *,
    corpus: Iterable[str] | str | Path | Sequence[Path] | None = None,
    cross_encoder: Any = None,
    anchor_column_name: str | None = None,
    positive_column_name: str | None = None,
    k: int | None = None,
    range_min: int = 0,
    range_max: int | None = None,
    bm25: bool = False,
    max_score: float | None = None,
    min_score: float | None = None,
    absolute_margin: float | None = None,
    relative_margin: float | None = None,
    num_negatives: int = 3,
    sampling_strategy: Literal["top", "random"] = "top",
    query_prompt_name: str | None = None,
    query_prompt: str | None = None,
    corpus_prompt_name: str | None = None,
    corpus_prompt: str | None = None,
    include_positives: bool = False,
    output_format: str = "triplet",
    output_scores: bool = False,
    batch_size: int = 32,
    device: str = "auto",
    verbose: bool = True,
    work_dir: str | Path | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    dataset: Any = None,
    model: Any = None,
    cache_folder: str | Path | None = None,
    use_multi_process: bool | Sequence[str] = False,
    use_faiss: bool = False,
    faiss_batch_size: int | None = None,
    as_triplets: bool | None = None,
    margin: float | None = None,
    **unknown: NoReturn,
) -> datasets.Dataset:
    """Mine hard negatives for (anchor, positive) pairs.

    Long because it takes every argument of sentence-transformers' function.

    Every argument of ``sentence_transformers.util.mine_hard_negatives`` is taken and means the
    same. What differs: the cross-encoder's scores count wherever there is one, with or without a
    threshold; the rules that the command line has on by default are on here too
    (docs/migrating.md).

    Args:
        pairs: a ``datasets.Dataset``, a file (JSON lines, CSV, TSV, Parquet) or several, or
            (anchor, positive) tuples or mappings. Equal anchors are one query with several
            positives.
        encoder: bi-encoder: a hub id, a folder, ``pkg:PACKAGE/PATH``, or a SentenceTransformer,
            whose ``truncate_dim`` counts (of others, ``options={"index": {"truncate-dim": N}}``).
            With None the candidates come from BM25.
        corpus: texts, or a corpus file (or several, as ``Path`` objects: strings would be texts),
            that negatives are taken from besides the positives.
        cross_encoder: rescores the candidates: as ``encoder``, or a CrossEncoder.
        anchor_column_name: column of the anchors; default: of two columns the first, of more what
            their names tell (docs/inputs.md: triplets, lists, labels, ...).
        positive_column_name: column of the positives, likewise. With one of the two named no other
            column is read.
        k: candidates per query and source, beside its positives. All of them are considered unless
            ``range_max`` says how many.
        range_min: skip so many of the best that pass the other rules (``--skip-survivors``); to
            skip retrieval ranks, ``options={"filter": {"shift": N}}``.
        range_max: consider so many candidates per query. Default, without ``k``: ``range_min`` +
            10 * ``num_negatives`` + the most positives of a query, as in sentence-transformers
            (``num_negatives`` once where random ones are drawn without a threshold).
        bm25: take candidates from BM25 too.
        max_score: negatives score at most this.
        min_score: negatives score at least this.
        absolute_margin: negatives score at least this much below the positive.
        relative_margin: negatives score at least this share of the positive's score below it.
        num_negatives: negatives per query, at most.
        sampling_strategy: the best-scoring survivors, or random ones.
        query_prompt_name: name of the encoder's own prompt for anchors.
        query_prompt: text before every anchor; default: the model's own.
        corpus_prompt_name: name of the encoder's own prompt for documents.
        corpus_prompt: text before every document; default: the model's own.
        include_positives: refused: a known positive is never a negative.
        output_format: any name that ``negmine export --format`` takes.
        output_scores: add the scores of positives and negatives.
        batch_size: most texts in one model call.
        device: where models run.
        verbose: show log and progress, and print statistics: scores of positives and negatives,
            what each rule dropped, and how many queries are short.
        work_dir: folder that keeps the artifacts, so that the same call again is instant, another
            margin costs seconds, and ``negmine explain`` can be asked; default: a temporary one.
        options: anything else the command line has, per stage:
            ``{"filter": {"max-fn-rate": 0.05}, "export": {"ids": True}}``.
        dataset: another name of ``pairs``.
        model: another name of ``encoder``.
        cache_folder: another name of ``work_dir``.
        use_multi_process: nothing to say: every GPU is used, or every core. A list of one device is
            another name of ``device``.
        use_faiss: changes nothing: search is exact, and streams the vectors.
        faiss_batch_size: likewise.
        as_triplets: old name of the formats ``triplet`` and ``n-tuple``.
        margin: old name of ``absolute_margin``.
        unknown: refused, with what to use in its place.

    Returns:
        The training set; anchors and positives keep the names that their columns had. Documents
        with labels are in the positives' column, as sentence-transformers has them.

    Raises:
        EmptyResultError: there is no example; ``options={"export": {"allow-empty": True}}``
            returns an empty data set instead.
        NegmineError: a mistake in the arguments or the data; see :mod:`negmine.errors`.
    """
    names.refuse_unknown(unknown, mine)
    names.refuse_positives(include_positives)
    pairs = names.one_of("pairs", pairs, "dataset", dataset)
    encoder = names.one_of("encoder", encoder, "model", model)
    work_dir = names.one_of("work_dir", work_dir, "cache_folder", cache_folder)
    if pairs is None:
        raise UsageError(
            "negmine.mine needs pairs", hint="A Dataset, a file, or (anchor, positive) tuples."
        )
    given = _given(options or {})
    thresholds = {
        "absolute_margin": names.margin_of(margin, absolute_margin),
        "relative_margin": relative_margin,
        "max_score": max_score,
        "min_score": min_score,
    }
    device = names.device_of(device, use_multi_process)
    with log.shown(verbose), _work_folder(work_dir) as work:
        output_format, output_scores = names.layout(output_format, output_scores, as_triplets)
        names.unused(use_faiss, faiss_batch_size)
        found = pairs_of(pairs, anchor_column_name, positive_column_name, work)
        depth = names.depth_of(
            k,
            range_min,
            range_max,
            num_negatives=num_negatives,
            bounded=any(value is not None for value in thresholds.values()),
            sampled=sampling_strategy == "random",
            most_positives=found.most_positives if work_dir is None else None,
        )
        saved = model_of(encoder, work / "models" / "encoder")
        scorer = model_of(cross_encoder, work / "models" / "cross_encoder")
        models = {"batch_size": batch_size, "device": device}
        prompts = {
            "doc_prompt": ("corpus_prompt_name", corpus_prompt, corpus_prompt_name),
            "query_prompt": ("query_prompt_name", query_prompt, query_prompt_name),
        }
        said = {
            side: names.for_encoder(names.prompt_of(*told, saved)) for side, told in prompts.items()
        }
        flags: dict[str, dict[str, Any]] = {
            "index": {
                "corpus": corpus_of(corpus, work),
                "pairs": found.files,
                "encoder": _named("encoder", saved),
                "bm25": bm25 or saved is None,
                "doc_prompt": said["doc_prompt"],
                "truncate_dim": getattr(encoder, "truncate_dim", None),
                **models,
            },
            "retrieve": {
                "pairs": found.files,
                "k": depth.k,
                "query_prompt": said["query_prompt"],
                **models,
            },
            "write": {"device": device},
            "rerank": {"scorer": _named("cross_encoder", scorer), **models},
            "filter": {
                **thresholds,
                "num_negatives": num_negatives,
                "skip_survivors": range_min or None,
                "sampler": sampling_strategy,
            },
            "export": {"format": output_format, "scores": output_scores, "device": device},
        }
        mined = _run(flags, given, work, _Range(depth, found.most_positives))
        if verbose:
            mend = ["range_max", *(name for name, value in thresholds.items() if value is not None)]
            mend += ["range_min"] if range_min else []
            statistics.show(mined.ledger, complete=output_format == "n-tuple", mend=mend)
        renamed = {"anchor": found.anchor, **dict.fromkeys(_SECOND, found.positive)}
        return _loaded(mined.out, renamed, work, work_dir is None)


def _given(options: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The options of every stage that has some.

    Raises:
        UsageError: there is no such stage.
    """
    for stage in options:
        if stage not in STAGES:
            raise UsageError(f"options: no stage '{stage}'", hint=did_you_mean(stage, STAGES))
    return {stage: dict(table) for stage, table in options.items()}


@contextmanager
def _work_folder(work_dir: str | Path | None) -> Iterator[Path]:
    if work_dir is not None:
        yield located(work_dir)
        return
    with tempfile.TemporaryDirectory(prefix="negmine-") as folder:
        yield Path(folder)


@dataclass(frozen=True)
class _Range:
    """How many candidates may become negatives, and what that hangs on.

    Attributes:
        depth: as it was asked for.
        most_positives: positives of the query that has the most; None where the candidates say it.
    """

    depth: names.Depth
    most_positives: int | None

    def of(self, params: FilterParams, candidates: Path) -> FilterParams:
        """The filter's settings, with the last rank that is considered."""
        if self.depth.ranks is None or params.range_max is not None:
            return params
        opened = open_candidates(candidates)
        brought = set(opened.sources) - set(searched_names(opened.schema()))
        if self.depth.derived and brought:
            # Negatives that a training set brought along need not be found by any search.
            return params
        most = self.most_positives
        if most is None:
            parts = (opened.part(name, ["qid", "label"]) for name in opened.parts)
            most = max((_most(part) for part in parts), default=0)
        return replace(params, range_max=self.depth.considered(most))


def _most(part: Part) -> int:
    """Positives of the query that has the most."""
    return int(np.bincount(part.query[part.positive]).max(initial=0))


@dataclass(frozen=True)
class _Mined:
    """Where the last two results lie."""

    ledger: Path
    out: Path


def _run(
    flags: Mapping[str, Mapping[str, Any]],
    given: Mapping[str, Mapping[str, Any]],
    work: Path,
    considered: _Range,
) -> _Mined:
    """All stages, each over what the one before it made.

    What another call left in the work folder stays where it is the same, as in ``negmine run``.

    Raises:
        NegmineError: see the stages.
    """
    # Every mistake in the options is told before anything runs.
    params = {}
    for name, stage in STAGES.items():
        table = given.get(name, {})
        params[name] = values.build(stage.params, table, _without(flags.get(name, {}), table))
    source: Path | None = None
    ledger = work
    steps = chain(params, work, "train.parquet")
    foresee(steps)
    with shared.between_stages() as kept:
        for number, step in enumerate(steps, 1):
            asked = step.params
            if isinstance(asked, FilterParams) and source is not None:
                asked, ledger = considered.of(asked, source), step.out
            kept.turn(*naming_models(steps, number))
            with log.working_on(log.Place(step.stage, str(step.out), number, len(steps))):
                STAGES[step.stage].run(asked, source, step.out, Replace.OTHER, WHOLE)
            source = following(step, source)
    return _Mined(ledger, step.out)


def _without(flags: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The flags that ``options`` does not set."""
    named = {key.replace("-", "_") for key in given}
    return {key: value for key, value in flags.items() if key not in named}


def _named(name: str, model: str | None) -> tuple[str, ...]:
    return () if model is None else (f"{name}={model}",)


def _loaded(out: Path, renamed: Mapping[str, str], work: Path, in_memory: bool) -> datasets.Dataset:
    """The exported file, with the columns' own names."""
    from datasets import Dataset, Value
    from datasets.table import InMemoryTable

    if pq.read_metadata(out).num_rows:
        loaded = Dataset.from_parquet(
            str(out), cache_dir=str(work / "datasets"), keep_in_memory=in_memory
        )
    else:
        # Its builder makes no split without rows.
        loaded = Dataset(InMemoryTable(pq.read_table(out)))
    wanted = {
        old: new
        for old, new in renamed.items()
        if old in loaded.column_names and new not in loaded.column_names
    }
    loaded = loaded.rename_columns(wanted)
    # Python's numbers are what `mine_hard_negatives` makes a data set of.
    for name in {"score", "scores"} & set(loaded.column_names):
        feature = loaded.features[name]
        wide = Value("float64")
        loaded = loaded.cast_column(
            name, wide if name == "score" else replace(feature, feature=wide)
        )
    return loaded
