"""CUR as a kind of source: ``--source NAME=cur:MODEL``, a cross-encoder that finds candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from negmine.errors import UsageError
from negmine.params.per_model import of_model
from negmine.params.rerank import RerankParams
from negmine.params.retrieve import RetrieveParams
from negmine.sources.base import Source
from negmine.sources.child import Needs
from negmine.sources.kind import Kind, Opening, SourceRef
from negmine.table.artifacts.reading import Artifact

SCHEME = "cur"
#: Options of ``retrieve`` that are nobody else's.
_OWN = ("anchors", "max_length", "dtype")
#: Anchor queries where nobody says how many; of them half as many anchor documents.
_QUERIES = 200


@dataclass(frozen=True)
class Anchors:
    """How many anchors there are.

    Attributes:
        queries: that have all documents scored.
        items: documents that every query is scored with.
    """

    queries: int
    items: int


def parse(text: str | None) -> Anchors:
    """The anchors of ``--anchors QUERIES[:DOCUMENTS]``.

    Raises:
        UsageError: it is no such thing.
    """
    queries, colon, items = (text or str(_QUERIES)).partition(":")
    numbers = [queries, *([items] if colon else [])]
    if not all(one.isascii() and one.isdigit() and int(one) > 0 for one in numbers):
        raise UsageError(
            f"--anchors: '{text}' is no number of queries, or of queries and documents",
            hint="For example --anchors 200, or --anchors 200:100.",
        )
    return Anchors(int(queries), int(items) if colon else max(1, int(queries) // 2))


def _choose(
    params: RetrieveParams, wanted: Mapping[str, str], index: Artifact
) -> Sequence[SourceRef]:
    default = RetrieveParams()
    idle = [one for one in _OWN if getattr(params, one) != getattr(default, one)]
    if idle and not wanted:
        raise UsageError(
            f"--{idle[0].replace('_', '-')} is for sources of a cross-encoder, and there is none",
            hint=f"Give --source NAME={SCHEME}:MODEL, or leave it out.",
        )
    asked = parse(params.anchors)
    return [_source(params, name, spec, asked) for name, spec in wanted.items()]


def _source(params: RetrieveParams, name: str, spec: str, asked: Anchors) -> SourceRef:
    from negmine.scorers import check_options, is_served, refer

    if not spec:
        raise UsageError(
            f"--source {name}={SCHEME}: names no model",
            hint=f"Write --source {name}={SCHEME}:MODEL: a hub id, a folder or pkg:PACKAGE/PATH.",
        )
    reference = refer(spec)
    if reference.is_a == "bi-encoder":
        raise UsageError(
            "this is a bi-encoder: its best documents are found without anchors, and exactly",
            where=f"--source {name}={SCHEME}:{spec}",
            hint=f"Index with --encoder {name}={spec}, or name a cross-encoder here.",
        )
    if reference.is_a == "judge" or is_served(spec):
        raise UsageError(
            f"this is a {reference.is_a}: it would be asked about every document",
            where=f"--source {name}={SCHEME}:{spec}",
            hint="Name a cross-encoder here, and have this one score the candidates: negmine "
            f"rerank --scorer {name}={spec}.",
        )
    settings = RerankParams(
        scorer=(f"{name}={spec}",),
        # A sigmoid of it would be 0 for nearly all documents.
        activation="none" if reference.is_a == "cross-encoder" else "auto",
        batch_size=of_model(params.batch_size, name),
        max_length=of_model(params.max_length, name),
        dtype=of_model(params.dtype, name),
        trust_remote_code=of_model(params.trust_remote_code, name),
        device=params.device,
    )
    check_options({name: reference}, settings)
    models = () if reference.model is None else (reference.model,)
    return SourceRef(
        name,
        partial(_open, name, spec, settings, asked),
        models={name: {"model": spec, "revision": reference.revision}},
        needs=lambda: Needs(models),
    )


def _open(name: str, spec: str, settings: RerankParams, asked: Anchors, opening: Opening) -> Source:
    from negmine.scorers import refer
    from negmine.sources.anchors import Drawn, draw
    from negmine.sources.cur import CurSource, Model

    seed = opening.params.seed
    rows = pa.array(draw(opening.qids, asked.queries, seed))
    if len(rows) < asked.queries:
        opening.warnings.append(
            f"{name}: {asked.queries} anchor queries were asked for, and there are {len(rows)} "
            "queries: all are anchors"
        )
    drawn = Drawn(
        opening.qids.take(rows).to_pylist(),
        opening.texts.take(rows).to_pylist(),
        min(asked.items, len(opening.corpus)),
        seed,
    )
    return CurSource(
        Model(name, refer(spec), settings),
        opening.corpus,
        drawn,
        opening.budget,
        opening.params.device,
        opening.together,
    )


CUR = Kind(
    "cur",
    _choose,
    reads={"retrieve": _OWN},
    scheme=SCHEME,
    usage=f"{SCHEME}:MODEL",
    by_name=("batch_size", "max_length", "dtype", "trust_remote_code"),
)
