"""The encoders of an index: which give vectors, and which give weights of terms."""

from __future__ import annotations

from typing import Literal

from negmine.errors import UsageError
from negmine.models.resolve import kind_of
from negmine.models.served_encoder import shape_of
from negmine.params.index import IndexParams
from negmine.params.per_model import check_names, of_model
from negmine.params.values import named, per_name
from negmine.sources import kinds

Gives = Literal["dense", "sparse"]
DENSE_ONES: Gives = "dense"
SPARSE_ONES: Gives = "sparse"

#: Options of ``index`` that may be given for one encoder.
_BY_NAME = (
    *("doc_prompt", "encoder_kind", "pooling", "truncate_dim", "normalize", "max_length"),
    *("batch_size", "dtype", "runtime", "trust_remote_code", "vectors"),
)


def encoders_of(params: IndexParams, gives: Gives) -> dict[str, str]:
    """Name and model of each encoder that gives such, told by its files where it is not said.

    Raises:
        NegmineError: a name that cannot be, or a model that is not there.
    """
    every = named(params.encoder, "--encoder")
    kinds.check_names(every, "--encoder")
    return {name: spec for name, spec in every.items() if _gives(params, name, spec) == gives}


def check_options(params: IndexParams) -> None:
    """See that options of encoders name such as there are.

    Raises:
        UsageError: one names another.
    """
    check_names(params, _BY_NAME, named(params.encoder, "--encoder"), "encoder")


def doc_prompts(params: IndexParams) -> dict[str, str]:
    """What is put before every document, by encoder."""
    return per_name(params.doc_prompt, named(params.encoder, "--encoder"), "--doc-prompt")


def _gives(params: IndexParams, name: str, spec: str) -> Gives:
    asked = of_model(params.encoder_kind, name)
    if shape_of(spec) is not None:
        if asked == SPARSE_ONES:
            raise UsageError(
                f"--encoder-kind sparse: '{name}' is an encoder behind HTTP, which gives vectors",
                hint="Leave it out, or name the one that it is for: --encoder-kind NAME=sparse.",
            )
        return DENSE_ONES
    if asked in (DENSE_ONES, SPARSE_ONES):
        return asked
    return SPARSE_ONES if kind_of(spec) == "sparse-encoder" else DENSE_ONES
