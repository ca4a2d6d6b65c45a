"""SPLADE's head in pieces of the vocabulary: the same numbers without writing them all out.

A masked language model gives a logit for every token and every entry of the vocabulary, of which
SPLADE keeps one per entry: ``log1p(relu(x))`` of the largest over the text's tokens. Both functions
are monotone, so the largest logit may be taken first; and an entry's logits do not depend on the
others', so they are computed for as many entries as stay in the cache, and are gone.

The hidden states are the model's own: its last product with the vocabulary is left out of it and
done here. A model whose head comes out different in a single bit keeps sentence-transformers' own.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch

from negmine import log

#: Bytes of the logits that are computed at a time, about.
_PIECE_BYTES = 2 << 20
#: Vocabulary entries computed at a time, at the least: fewer make slow products.
_LEAST_ENTRIES = 256


class SpladeHead(torch.nn.Module):  # type: ignore[misc]
    """Takes the place of sentence-transformers' ``SpladePooling`` with the maximum.

    Args:
        decoder: the product with the vocabulary, which the transformer leaves out.
        pooling: the pooling that is replaced.
        dtype: what logits are computed in.
    """

    def __init__(self, decoder: torch.nn.Linear, pooling: Any, dtype: torch.dtype) -> None:
        super().__init__()
        self.pooling = pooling
        self.weight = decoder.weight.detach().to(dtype)
        self.bias = None if decoder.bias is None else decoder.bias.detach().to(dtype)
        self.twice = pooling.activation_function == "log1p_relu"

    def get_embedding_dimension(self) -> int:
        """Entries of the vocabulary."""
        return len(self.weight)

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        """``sentence_embedding`` [texts, vocabulary] from hidden states and the attention mask."""
        hidden = features["token_embeddings"].to(self.weight.dtype)
        mask = features["attention_mask"].unsqueeze(-1).to(self.weight.dtype)
        padded = bool((mask == 0).any())
        out = hidden.new_empty((len(hidden), len(self.weight)))
        for first, last in pairwise(self._bounds(hidden.shape[0] * hidden.shape[1])):
            bias = None if self.bias is None else self.bias[first:last]
            logits = torch.nn.functional.linear(hidden, self.weight[first:last], bias)
            if padded:
                # As the library does: what is no token counts as 0.
                logits.mul_(mask)
            torch.amax(logits, dim=1, out=out[:, first:last])
        out.relu_().log1p_()
        features["sentence_embedding"] = out.log1p_() if self.twice else out
        return features

    def _bounds(self, tokens: int) -> Iterator[int]:
        """Where the pieces of the vocabulary begin, and the end."""
        each = max(1, tokens) * self.weight.element_size()
        size = max(_LEAST_ENTRIES, _PIECE_BYTES // each // 64 * 64)
        yield from range(0, len(self.weight), size)
        yield len(self.weight)


def take_head(model: Any, dtype: torch.dtype, autocast: Any, spec: str) -> int:
    """Give a SparseEncoder this head wherever it has SPLADE's, if the numbers stay the same.

    Args:
        model: of sentence-transformers, on its device; changed in place.
        dtype: what the model computes in.
        autocast: makes the context in which it does.
        spec: the model's name for messages.

    Returns:
        How many heads were replaced.
    """
    replaced = 0
    for sequence in sequences(model):
        for place, following in pairwise(range(len(sequence))):
            transformer, pooling = sequence[place], sequence[following]
            if not _fits(transformer, pooling):
                continue
            if _replace(sequence, place, dtype, autocast):
                replaced += 1
            else:
                log.event(f"{spec}: the whole vocabulary at a time, because its head differs")
    return replaced


def sequences(model: Any) -> list[Any]:
    """The modules that run one after the other: the model's own, and those of each route.

    Args:
        model: a SparseEncoder.
    """
    from sentence_transformers.base.modules import Router

    routes = [
        route for one in model if isinstance(one, Router) for route in one.sub_modules.values()
    ]
    return [model, *routes]


def _fits(transformer: Any, pooling: Any) -> bool:
    """Whether two modules are a masked language model of texts and SPLADE's maximum."""
    from sentence_transformers.sparse_encoder.modules import SpladePooling

    from negmine.models.torch_models import is_text_transformer

    return (
        isinstance(pooling, SpladePooling)
        and pooling.pooling_strategy == "max"
        and is_text_transformer(transformer)
        and transformer.transformer_task == "fill-mask"
        and isinstance(transformer.model.get_output_embeddings(), torch.nn.Linear)
    )


def _replace(sequence: Any, place: int, dtype: torch.dtype, autocast: Any) -> bool:
    """Put the head in, see that nothing changes, and take it out again where something does."""
    transformer, pooling = sequence[place], sequence[place + 1]
    decoder = transformer.model.get_output_embeddings()
    owner, name = _owner(transformer.model, decoder)
    with torch.inference_mode(), autocast():
        wanted = _pooled(transformer, pooling)
    head = SpladeHead(decoder, pooling, dtype)
    setattr(owner, name, torch.nn.Identity())
    try:
        with torch.inference_mode(), autocast():
            same = torch.equal(_pooled(transformer, head), wanted)
    except (RuntimeError, AttributeError, TypeError):
        # The model does more with its logits than give them.
        same = False
    if same:
        sequence[place + 1] = head
    else:
        setattr(owner, name, decoder)
    return same


def _owner(model: torch.nn.Module, decoder: torch.nn.Module) -> tuple[torch.nn.Module, str]:
    """The module that holds another, and by which name."""
    path = next(name for name, module in model.named_modules() if module is decoder)
    above, _, name = path.rpartition(".")
    return model.get_submodule(above), name


def _pooled(transformer: Any, pooling: Any) -> torch.Tensor:
    """What comes of two texts of different length."""
    features = transformer.preprocess(["the heart of a cell", "is not 42 % of it, and more: yes"])
    device = next(transformer.parameters()).device
    given = {n: v.to(device) if hasattr(v, "to") else v for n, v in features.items()}
    found: torch.Tensor = pooling(transformer(given))["sentence_embedding"]
    return found
