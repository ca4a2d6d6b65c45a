"""Learned sparse encoders as a kind of source: impacts of terms, a set for each encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from negmine import log
from negmine.errors import UsageError
from negmine.models import limits
from negmine.models.base import Side, SparseSettings
from negmine.models.resolve import ModelRef, resolve
from negmine.models.token_files import Turn
from negmine.params.index import IndexParams
from negmine.params.model_options import model_options
from negmine.params.per_model import names_in, of_model
from negmine.params.retrieve import RetrieveParams
from negmine.params.values import per_name
from negmine.sources.base import Source
from negmine.sources.child import Child, Encoding, Needs, Place
from negmine.sources.encoded import Encoded, OfQueries, OneModel, refuse_untrusted
from negmine.sources.encoders import DENSE_ONES, SPARSE_ONES, doc_prompts, encoders_of
from negmine.sources.kind import Kind, Opening, SourceRef
from negmine.table.artifacts.reading import Artifact
from negmine.table.artifacts.writing import Writer
from negmine.table.documents import Documents

VERSION = 1
PLACE = Place("index.sparse", "sparse/*")
#: Options of vectors, which mean nothing for weights of terms.
_OF_VECTORS = ("pooling", "truncate_dim", "normalize", "vectors")
#: Bytes of a document's row while its part is held, about.
_ROW_BYTES = 4096
#: Texts that show how many terms a text has, for a dry run.
_SHOWN = 32


# --- index --------------------------------------------------------------------------------------


def _children(params: IndexParams) -> Sequence[Child]:
    encoders, prompts = encoders_of(params, SPARSE_ONES), doc_prompts(params)
    if encoders:
        _refuse_options_of_vectors(params, encoders)
    return [_child(params, name, spec, prompts.get(name)) for name, spec in encoders.items()]


def _refuse_options_of_vectors(params: IndexParams, encoders: Mapping[str, str]) -> None:
    """Refuse what is said of vectors where there are none.

    Raises:
        UsageError: an option names a learned sparse encoder, or is for all and there is no other.
    """
    alone = not encoders_of(params, DENSE_ONES)
    for option in _OF_VECTORS:
        value, default = getattr(params, option), getattr(IndexParams(), option)
        whom = [n for n in names_in(value) if n in encoders and of_model(value, n) != default]
        if alone and of_model(value, "") != default:
            whom = list(encoders)
        if whom:
            flag = option.replace("_", "-")
            raise UsageError(
                f"--{flag} is for vectors, and '{whom[0]}' ({encoders[whom[0]]}) gives weights of "
                "terms (learned sparse)",
                hint=f"Leave it out, or name an encoder of vectors: --{flag} NAME=VALUE.",
            )
    if alone and params.ann is not None:
        raise UsageError(
            "--ann: no encoder gives vectors; learned sparse is searched exactly",
            hint="Leave it out.",
        )


def _child(params: IndexParams, name: str, spec: str, prompt: str | None) -> Child:
    reference = resolve(spec)
    settings = SparseSettings(**model_options(params, name), doc_prompt=prompt)
    limits.check_sparse(reference, settings)

    def load(device: str) -> Any:
        from negmine.models.sparse_encoder import load_sparse_encoder

        return load_sparse_encoder(reference, replace(settings, device=device))

    made_of = Encoded(
        name,
        PLACE,
        reference,
        _described(settings),
        VERSION,
        params.device,
        load,
        fill=partial(_fill, name),
    )
    model = OneModel(lambda: load(settings.device))
    return Child(
        name,
        PLACE,
        plan=made_of.plan,
        make=partial(made_of.make, model),
        tried=partial(made_of.tried, model),
        needs=Needs(models=(reference,)),
        encoding=Encoding(
            model.taken,
            _filled,
            Turn(reference, settings.max_length, settings.doc_prompt),
            stand_in=_Sampled,
            bytes_each=lambda _: _ROW_BYTES,
        ),
    )


def _described(settings: SparseSettings) -> dict[str, Any]:
    """What decides impacts beside their model and the documents."""
    return {
        "doc_prompt": settings.doc_prompt,
        "max_length": settings.max_length,
        "batch_size": settings.batch_size,
        "dtype": settings.dtype,
        "runtime": settings.runtime,
        **({"trust_remote_code": True} if settings.trust_remote_code else {}),
    }


def _fill(
    name: str, corpus: Documents, writer: Writer, encoders: Sequence[Any], bar: log.Progress
) -> tuple[dict[str, int], dict[str, Any]]:
    """Encode the documents; counts."""
    from negmine.sources import sparse

    counts = sparse.build(corpus, writer, encoders, bar, bar.part)
    each = counts["impacts"] / max(1, counts["documents"])
    told = f"{name}: {each:.0f} of {counts['terms']:,} terms to a document"
    if counts["without_terms"]:
        told += f", none to {counts['without_terms']:,} of them"
    log.event(told, **counts)
    return counts, {}


def _filled(documents: Documents, writer: Writer, encoder: Any) -> dict[str, int]:
    from negmine.sources import sparse

    return sparse.build(documents, writer, [encoder], lambda _: None)


class _Sampled:
    """Stands in for an encoder where only the size of its rows matters: some texts' rows, drawn.

    Args:
        encoder: a loaded one.
        texts: of the corpus.
    """

    def __init__(self, encoder: Any, texts: Sequence[str]) -> None:
        self.dimension, self.placement = encoder.dimension, encoder.placement
        self._rows = encoder.encode(list(texts[:_SHOWN]), "document")
        self._random = np.random.default_rng(0)

    def describe(self) -> dict[str, object]:
        """Nothing worth telling."""
        return {}

    def lengths(self, texts: Sequence[str], side: Side) -> np.ndarray:
        """No tokens."""
        return np.zeros(len(texts), dtype=np.int64)

    def encode(
        self, texts: Sequence[str], side: Side, progress: Any = None, checkpoint: Any = None
    ) -> Any:
        """Rows of other texts."""
        return self._rows.take(self._random.integers(0, len(self._rows), len(texts)))


# --- retrieve -----------------------------------------------------------------------------------


def _choose(
    params: RetrieveParams, wanted: Mapping[str, str], index: Artifact
) -> Sequence[SourceRef]:
    children = {name: index.input(name) for name in wanted}
    # Others' names are known: what begins with one is no prompt for all.
    named_ones = dict.fromkeys([*children, *names_in(params.query_prompt)], "")
    prompts = per_name(params.query_prompt, named_ones, "--query-prompt")
    for name, child in children.items():
        refuse_untrusted(child, name, of_model(params.trust_remote_code, name))
    return [
        SourceRef(
            name,
            partial(_open, name, child, prompts.get(name)),
            child,
            needs=partial(_needs, resolve(child.models[name]["model"])),
        )
        for name, child in children.items()
    ]


def _needs(reference: ModelRef) -> Needs:
    return Needs(models=(reference,))


def _open(name: str, made: Artifact, prompt: str | None, opening: Opening) -> Source:
    from negmine.sources.impacts import StoredImpacts
    from negmine.sources.sparse import SparseSource, load_query_encoder

    return SparseSource(
        opening.corpus,
        StoredImpacts(made),
        lambda: load_query_encoder(made, name, OfQueries.of(opening.params, name, prompt)),
        memory=opening.budget.search,
        together=opening.together,
        name=name,
    )


SPARSE = Kind(
    "sparse",
    _choose,
    reads={
        "index": (
            "encoder",
            "encoder_kind",
            "doc_prompt",
            "max_length",
            "batch_size",
            "device",
            "dtype",
            "runtime",
            "trust_remote_code",
            *_OF_VECTORS,
            "ann",
        ),
        "retrieve": ("query_prompt", "batch_size", "device", "trust_remote_code"),
    },
    by_name=("query_prompt", "batch_size", "trust_remote_code"),
    places=(PLACE,),
    children=_children,
    counts=lambda names: {"sparse_encoders": list(names)} if names else {},
)
