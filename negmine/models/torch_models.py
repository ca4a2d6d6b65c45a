"""What models of PyTorch share: loading, length, placement."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from negmine import log, memory
from negmine.errors import MissingInputError, UsageError
from negmine.models.base import Settings, Side
from negmine.models.batching import token_budget
from negmine.models.devices import Placement
from negmine.models.limits import checked_length
from negmine.models.resolve import ModelRef
from negmine.models.room import Room, loading
from negmine.models.tokens import Ints

NO_LIMIT = 2**31 - 1
"""The maximum length of a model that has none."""


@dataclass(frozen=True)
class TorchModel:
    """A loaded model that PyTorch runs.

    Attributes:
        ref: which model.
        settings: how it is run.
        model: the library's.
        placement: where it runs, in which format.
        max_length: most tokens of what it reads; the rest is cut off.
        room: halves batches that do not fit.
    """

    ref: ModelRef
    settings: Settings
    model: Any
    placement: Placement
    max_length: int
    room: Room

    @property
    def batch_tokens(self) -> int:
        """Most padded tokens of a batch."""
        where = self.placement
        return token_budget(self.settings.batch_size, where.device, where.runtime, where.dtype)

    def again(self, settings: Settings) -> Self | None:
        """This model as another stage runs it; None where it would have to be loaded for that.

        Prompts and the size of batches are looked at when it runs, all else when it is loaded.
        """
        if settings != _as_loaded(self.settings, settings):
            return None
        if settings.threads:
            import torch

            # Another model may have been loaded with another number since.
            torch.set_num_threads(settings.threads)
        return replace(self, settings=settings, room=Room(self.room.model, self.room.unit))

    def described(self, **own: object) -> dict[str, object]:
        """Everything that decides the output, with what a kind of model has of its own."""
        return {
            "backend": self.placement.runtime,
            "revision": self.ref.revision,
            **own,
            "dtype": self.placement.dtype,
            "batch_size": self.settings.batch_size,
            **self.room.facts(),
        }


def _as_loaded(loaded: Settings, asked: Settings) -> Settings:
    """The settings with which a model was loaded, and what is asked of those that may differ."""
    names = {field.name for field in fields(loaded)} & _OF_A_RUN
    changes: dict[str, Any] = {name: getattr(asked, name, None) for name in names}
    return replace(loaded, **changes)


#: What a loaded model looks up at every call.
_OF_A_RUN = frozenset({"batch_size", "query_prompt", "doc_prompt"})


def load_torch(
    kind: Any, ref: ModelRef, placement: Placement, threads: int | None, trusted: bool
) -> Any:
    """A SentenceTransformer or CrossEncoder, in evaluation mode, at its place.

    On a GPU the weights are held in the chosen format; on a CPU they stay in float32 and
    bfloat16 is autocast's, which keeps what needs the precision.

    Raises:
        MissingInputError: there is no such model.
        UsageError: it brings code of its own, which is not ``trusted``.
    """
    import torch
    from transformers.utils import logging as transformers_logging

    # Its "Loading weights" bar ignores --quiet and draws on a stderr that is no terminal.
    transformers_logging.disable_progress_bar()
    if threads:
        torch.set_num_threads(threads)
    if placement.device == "cpu":
        memory.keep_freed()
    dtype = torch.float32 if placement.device == "cpu" else getattr(torch, placement.dtype)
    with loading(ref.spec, placement):
        model = _constructed(kind, ref, placement, dtype, trusted)
        if any(type(module).__module__.startswith(_DYNAMIC) for module in model.modules()):
            log.warn([f"{ref.spec}: code that the model brings runs here (--trust-remote-code)"])
        return model.to(dtype).eval()


def _constructed(kind: Any, ref: ModelRef, placement: Placement, dtype: Any, trusted: bool) -> Any:
    try:
        return kind(
            ref.location,
            device=placement.device,
            revision=ref.hub_revision if not Path(ref.location).is_dir() else None,
            local_files_only=Path(ref.location).is_dir(),
            model_kwargs={"dtype": dtype},
            trust_remote_code=trusted,
        )
    except OSError as error:
        raise MissingInputError(f"the model cannot be loaded: {error}", where=ref.spec) from error
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise UsageError(
            "this model brings Python code of its own, which would run in this process",
            where=ref.spec,
            hint="Read that code, then allow it with --trust-remote-code.",
        ) from error


#: Where transformers and sentence-transformers put a model's own classes.
_DYNAMIC = "transformers_modules"


def torch_max_length(model: Any, asked: int | None, ref: ModelRef) -> int:
    """Set the model's maximum length to what was asked for and say what it is now."""
    length = checked_length(asked, learned_positions(model), ref.spec)
    if length is not None:
        try:
            model.max_seq_length = length
        except AttributeError as error:
            raise UsageError(
                "the model takes texts of any length; it cannot be limited",
                where=f"--max-length, {ref.spec}",
            ) from error
    own = model.max_seq_length
    return int(own) if own and own < NO_LIMIT else NO_LIMIT


def learned_positions(model: Any) -> int | None:
    """How many positions a model with learned positions has, the reserved ones left out."""
    for module in model.modules():
        table = getattr(module, "position_embeddings", None)
        rows = getattr(table, "num_embeddings", None)
        if table is not None and rows is not None:
            reserved = 0 if table.padding_idx is None else table.padding_idx + 1
            return int(rows - reserved)
    return None


def is_plain_text_model(model: Any, side: Side | None = None) -> bool:
    """Whether the model's features are its tokenizer's output and nothing else.

    Args:
        model: a model of sentence-transformers.
        side: of which texts; None = of all. Queries of some models are filled up with mask tokens.
    """
    first = model[0]
    return is_text_transformer(first) and (side == "document" or first.query_expansion is None)


def is_text_transformer(module: Any) -> bool:
    """Whether a module is a transformer that reads the token ids of texts alone."""
    from sentence_transformers.base.modules import Transformer

    return (
        isinstance(module, Transformer)
        and module.tokenizer is not None
        and module.tokenizer.is_fast
        and module.modalities == ["text"]
        and module.transformer_task
        in ("feature-extraction", "fill-mask", "sequence-classification")
        and not module.can_flatten_inputs
    )


def autocast(placement: Placement) -> AbstractContextManager[Any]:
    """The context in which PyTorch computes in bfloat16 on a CPU.

    A GPU's weights are in it already, and OpenVINO converts its own.
    """
    import torch

    if placement.device == "cpu" and (placement.dtype, placement.runtime) == ("bfloat16", "torch"):
        context: AbstractContextManager[Any] = torch.autocast("cpu", dtype=torch.bfloat16)
        return context
    return nullcontext()


def on_device(features: dict[str, Any], device: str) -> dict[str, Any]:
    """The features with their tensors moved."""
    return {
        name: value.to(device) if hasattr(value, "to") else value
        for name, value in features.items()
    }


def characters(texts: Sequence[str], max_length: int) -> Ints:
    """A stand-in for token lengths where texts cannot be tokenised beforehand."""
    lengths = np.fromiter((len(text) for text in texts), dtype=np.int64, count=len(texts))
    return np.minimum(lengths // 3 + 2, max_length)
