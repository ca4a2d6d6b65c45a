"""``negmine.mine``: the whole chain in one call, for notebooks.

The names are those of sentence-transformers' ``mine_hard_negatives`` where they mean the same, so
that moving over is one line; the work is done by the same stages and leaves the same artifacts as
the command line.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from negmine.errors import ConflictError, UsageError, did_you_mean
from negmine.inputs import PAIRS_SCHEMA, Columns, Problems, read_pairs
from negmine.inputs.sets import Beginning, recognised
from negmine.inputs.sets.base import QUERY
from negmine.inputs.sets.lists import POSITIVE
from negmine.params import values
from negmine.stages.stage import STAGES, chain
from negmine.table import writers
from negmine.table.documents import PART_DOCUMENTS
from negmine.table.ids import content_ids

if TYPE_CHECKING:
    import datasets


def mine(
    pairs: datasets.Dataset
    | str
    | Path
    | Sequence[str | Path]
    | Sequence[tuple[str, str]]
    | Sequence[Mapping[str, Any]],
    encoder: Any = None,
    *,
    corpus: Iterable[str] | str | Path | Sequence[Path] | None = None,
    cross_encoder: Any = None,
    anchor_column_name: str | None = None,
    positive_column_name: str | None = None,
    k: int = 100,
    range_min: int = 0,
    bm25: bool = False,
    max_score: float | None = None,
    min_score: float | None = None,
    absolute_margin: float | None = None,
    relative_margin: float | None = None,
    num_negatives: int = 3,
    sampling_strategy: Literal["top", "random"] = "top",
    query_prompt: str | None = None,
    corpus_prompt: str | None = None,
    output_format: str = "triplet",
    output_scores: bool = False,
    batch_size: int = 32,
    device: str = "auto",
    work_dir: str | Path | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> datasets.Dataset:
    """Mine hard negatives for (anchor, positive) pairs.

    Every argument that ``sentence_transformers.util.mine_hard_negatives`` has under the same name
    means the same here. What differs: the model is called ``encoder``; ``range_max`` is ``k``, and
    counts before anything is dropped; the cross-encoder's scores count wherever there is one, with
    or without a margin; the rules that the command line has on by default are on here too.

    Args:
        pairs: a ``datasets.Dataset``, a file (JSON lines, CSV, TSV, Parquet) or several, or
            (anchor, positive) tuples or mappings. Equal anchors are one query with several
            positives.
        encoder: bi-encoder: a hub id, a folder, ``pkg:PACKAGE/PATH``, or a SentenceTransformer.
            With None the candidates come from BM25.
        corpus: texts, or a corpus file (or several, as ``Path`` objects: strings would be texts),
            that negatives are taken from besides the positives.
        cross_encoder: rescores the candidates: as ``encoder``, or a CrossEncoder.
        anchor_column_name: column of the anchors; default: of two columns the first, of more what
            their names tell (docs/inputs.md: triplets, lists, labels, ...).
        positive_column_name: column of the positives, likewise. With one of the two named no other
            column is read.
        k: candidates per query and source.
        range_min: skip so many of the best that pass the other rules (``--skip-survivors``); to
            skip retrieval ranks, ``options={"filter": {"shift": N}}``.
        bm25: take candidates from BM25 too.
        max_score: negatives score at most this.
        min_score: negatives score at least this.
        absolute_margin: negatives score at least this much below the positive.
        relative_margin: negatives score at least this share of the positive's score below it.
        num_negatives: negatives per query, at most.
        sampling_strategy: the best-scoring survivors, or random ones.
        query_prompt: text before every anchor; default: the model's own.
        corpus_prompt: text before every document; default: the model's own.
        output_format: any name that ``negmine export --format`` takes.
        output_scores: add the scores of positives and negatives.
        batch_size: most texts in one model call.
        device: where models run.
        work_dir: folder that keeps the artifacts, so that the same call again is instant, another
            margin costs seconds, and ``negmine explain`` can be asked; default: a temporary one.
        options: anything else the command line has, per stage:
            ``{"filter": {"max-fn-rate": 0.05}, "export": {"ids": True}}``.

    Returns:
        The training set; anchors and positives keep the names that their columns had.

    Raises:
        EmptyResultError: there is no example; ``options={"export": {"allow-empty": True}}``
            returns an empty data set instead.
        NegmineError: a mistake in the arguments or the data; see :mod:`negmine.errors`.
    """
    given = {stage: dict(table) for stage, table in (options or {}).items()}
    for stage in given:
        if stage not in STAGES:
            raise UsageError(f"options: no stage '{stage}'", hint=did_you_mean(stage, STAGES))
    if encoder is None and not bm25:
        bm25 = True
    with _work_folder(work_dir) as work:
        anchor, positive, paths = _pairs(pairs, anchor_column_name, positive_column_name, work)
        shared = {"batch_size": batch_size, "device": device, "query_prompt": query_prompt}
        models = {
            "encoder": _model(encoder, work / "models" / "encoder"),
            "cross_encoder": _model(cross_encoder, work / "models" / "cross_encoder"),
        }
        flags: dict[str, dict[str, Any]] = {
            "index": {
                "corpus": _corpus(corpus, work),
                "pairs": paths,
                "encoder": _named("encoder", models["encoder"]),
                "bm25": bm25,
                "doc_prompt": corpus_prompt,
                "batch_size": batch_size,
                "device": device,
            },
            "retrieve": {"pairs": paths, "k": k, **shared},
            "rerank": {
                "scorer": _named("cross_encoder", models["cross_encoder"]),
                "batch_size": batch_size,
                "device": device,
            },
            "filter": {
                "max_score": max_score,
                "min_score": min_score,
                "absolute_margin": absolute_margin,
                "relative_margin": relative_margin,
                "num_negatives": num_negatives,
                "skip_survivors": range_min or None,
                "sampler": sampling_strategy,
            },
            "export": {"format": output_format, "scores": output_scores, "device": device},
        }
        out = _run(flags, given, work)
        return _loaded(out, {"anchor": anchor, "positive": positive}, work, work_dir is None)


@contextmanager
def _work_folder(work_dir: str | Path | None) -> Iterator[Path]:
    if work_dir is not None:
        yield Path(work_dir)
        return
    with tempfile.TemporaryDirectory(prefix="negmine-") as folder:
        yield Path(folder)


def _run(
    flags: Mapping[str, Mapping[str, Any]], given: Mapping[str, Mapping[str, Any]], work: Path
) -> Path:
    """All stages, each over what the one before it made.

    What another call left in the work folder is kept if it is the same.

    Raises:
        NegmineError: see the stages.
    """
    # Every mistake in the options is told before anything runs.
    params = {}
    for name, stage in STAGES.items():
        table = given.get(name, {})
        params[name] = values.build(stage.params, table, _without(flags[name], table))
    source: Path | None = None
    for step in chain(params, work, "train.parquet"):
        run = STAGES[step.stage].run
        try:
            run(step.params, source, step.out, False)
        except ConflictError:
            run(step.params, source, step.out, True)
        source = step.out
    return step.out


def _without(flags: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The flags that ``options`` does not set."""
    named = {key.replace("-", "_") for key in given}
    return {key: value for key, value in flags.items() if key not in named}


def _pairs(
    pairs: Any, anchor: str | None, positive: str | None, work: Path
) -> tuple[str, str, list[str]]:
    """The pairs as files, and the names of their two columns.

    Raises:
        UsageError: there are no two columns, or none of the name asked for.
    """
    files_named = _files_named(pairs, (str, Path))
    if files_named is not None:
        if anchor is None and positive is None:
            return "query", "positive", files_named
        wanted = {"query": anchor, "positive": positive}
        columns = {target: name for target, name in wanted.items() if name is not None}
        # Who names both columns wants no other.
        named = Columns(columns, strict=len(columns) < len(wanted))
        batches = read_pairs(files_named, named, Problems("fail"))
        table = pa.Table.from_batches(batches, PAIRS_SCHEMA)
        file = str(_written(work / "pairs.parquet", table))
        return anchor or "query", positive or "positive", [file]
    if hasattr(pairs, "with_format"):
        table = pairs.with_format("arrow")[:]
    else:
        rows = list(pairs)
        if rows and isinstance(rows[0], Mapping):
            table = pa.Table.from_pylist([dict(row) for row in rows])
        else:
            left, right = zip(*rows, strict=True) if rows else ((), ())
            table = pa.table(
                {"anchor": pa.array(left, pa.string()), "positive": pa.array(right, pa.string())}
            )
    known = table.column_names
    for name in (anchor, positive):
        if name is not None and name not in known:
            raise UsageError(f"pairs: no column '{name}'", hint=did_you_mean(name, known))
    if len(known) < 2:
        raise UsageError(f"pairs need two columns, found {', '.join(known) or 'none'}")
    if len(known) > 2 and anchor is None and positive is None:
        # More than pairs: what each column is for, the readers tell by their names, or ask.
        told = Beginning(tuple(known))
        if recognised(told) is None and not (told.has(QUERY) and told.has(POSITIVE)):
            raise UsageError(
                f"pairs: which columns are the queries and the positives? {', '.join(known)}",
                hint="Give anchor_column_name and positive_column_name.",
            )
        names = told.source(QUERY) or "query", told.source(POSITIVE) or "positive"
        return *names, [str(_written(work / "pairs.parquet", table))]
    names = anchor or known[0], positive or known[1]
    renamed = table.select(list(names)).rename_columns(PAIRS_SCHEMA.names)
    return *names, [str(_written(work / "pairs.parquet", renamed))]


def _files_named(given: Any, types: tuple[type, ...]) -> list[str] | None:
    """The files that an argument names, if it is a file or a list of nothing but files.

    Args:
        given: the argument.
        types: what a file in a list may be; alone it may always be a string or a path.
    """
    if isinstance(given, str | Path):
        return [str(given)]
    if isinstance(given, list | tuple) and given and all(isinstance(one, types) for one in given):
        return [str(one) for one in given]
    return None


def _corpus(corpus: Any, work: Path) -> list[str] | None:
    if corpus is None:
        return None
    files_named = _files_named(corpus, (Path,))
    if files_named is not None:
        return files_named
    texts = pa.array(list(dict.fromkeys(corpus)), pa.string())
    table = pa.table({"docid": content_ids(texts), "text": texts})
    return [str(_written(work / "corpus.parquet", table))]


def _written(path: Path, table: pa.Table) -> Path:
    """A table as an input file of the stages."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = table.replace_schema_metadata(None)
    starts = range(0, max(1, table.num_rows), PART_DOCUMENTS)
    writers.write_parquet(path, (table.slice(s, PART_DOCUMENTS) for s in starts), table.schema)
    return path


def _model(model: Any, folder: Path) -> str | None:
    """A model's name; a loaded model is saved first, so that its weights have a revision."""
    if model is None or isinstance(model, str):
        return model
    if isinstance(model, Path):
        return str(model)
    if not hasattr(model, "save_pretrained"):
        raise UsageError(
            f"a model is a name, a folder or a loaded model, not {type(model).__name__}"
        )
    model.save_pretrained(str(folder))
    return str(folder)


def _named(name: str, model: str | None) -> tuple[str, ...]:
    return () if model is None else (f"{name}={model}",)


def _loaded(out: Path, renamed: Mapping[str, str], work: Path, in_memory: bool) -> datasets.Dataset:
    """The exported file, with the columns' own names."""
    from datasets import Dataset
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
    return loaded.rename_columns(wanted)
