"""The last layer of a transformer of which only the first token is read.

The head of most cross-encoders, and the pooling ``cls``, read one token of the last layer's output.
For that the layer needs the keys and values of all tokens, but query, attention, output and
feed-forward block of the first token alone: of twelve layers a fourteenth of the products, of six a
seventh. Nothing is approximated.

What is put in the layer's place is tried against it on texts of several lengths first. A model with
layers of another kind, or whose head reads more, keeps its own.
"""

from __future__ import annotations

from typing import Any

import torch

from negmine.models.devices import Placement
from negmine.models.reading import NotAsKnown, Read, distance

#: Largest distance from the whole layer's output, as a share of its norm: float32's last digits.
_APART = 1e-5


class _FirstToken(torch.nn.Module):  # type: ignore[misc]
    """A layer of BERT's kind, for the first token alone."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.attention, self.intermediate = layer.attention, layer.intermediate
        self.output = layer.output

    def forward(
        self,
        hidden: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        *_: Any,
        **__: Any,
    ) -> torch.Tensor:
        """``[rows, tokens, width]`` to ``[rows, 1, width]``."""
        attention = self.attention.self
        first = hidden[:, :1]

        def heads(made: torch.Tensor) -> torch.Tensor:
            split = (made.shape[0], made.shape[1], -1, attention.attention_head_size)
            return made.view(*split).transpose(1, 2)

        made = torch.nn.functional.scaled_dot_product_attention(
            heads(attention.query(first)),
            heads(attention.key(hidden)),
            heads(attention.value(hidden)),
            attn_mask=None if attention_mask is None else attention_mask[:, :, :1],
            scale=attention.scaling,
        )
        attended = self.attention.output(made.transpose(1, 2).reshape(first.shape), first)
        done: torch.Tensor = self.output(self.intermediate(attended), attended)
        return done


def read_first_token_alone(model: Any, placement: Placement) -> bool:
    """Have a model's last layer compute the first token alone, where nothing else is read.

    Args:
        model: a CrossEncoder, or a SentenceTransformer; changed in place.
        placement: where it runs. On GPUs it stays as it is: nobody has measured it there.

    Returns:
        Whether it does so now.
    """
    if placement.device != "cpu":
        return False
    try:
        read = Read.of(model[0])
        layers = _layers(read.model)
    except NotAsKnown:
        return False
    whole = layers[-1]
    try:
        with torch.inference_mode():
            probes = read.probes()
            wanted = [read(**probe) for probe in probes]
            if wanted[0].ndim == 3 and not _pools_first(model):
                return False
            layers[-1] = _FirstToken(whole)
            same = all(
                _is_same(read(**probe), want) for probe, want in zip(probes, wanted, strict=True)
            )
    except Exception:  # a model's own code may raise anything: then it is of another kind
        same = False
    if not same:
        layers[-1] = whole
    return same


def _pools_first(model: Any) -> bool:
    """Whether of the transformer's token vectors only the first is read."""
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling

    rest = list(model)[1:]
    pooled = [module.pooling_mode for module in rest if isinstance(module, Pooling)]
    return pooled == ["cls"] and all(isinstance(one, Pooling | Dense | Normalize) for one in rest)


def _layers(model: Any) -> Any:
    """The layers of a model of BERT's kind.

    Raises:
        NotAsKnown: it is of another kind.
    """
    base = getattr(model, getattr(model, "base_model_prefix", ""), model)
    layers = getattr(getattr(base, "encoder", None), "layer", None)
    if not layers or model.config._attn_implementation != "sdpa" or model.config.is_decoder:
        raise NotAsKnown("its layers are of another kind")
    return layers


def _is_same(made: torch.Tensor, want: torch.Tensor) -> bool:
    """Whether what is read is the same: all of a head's output, or the first token's."""
    if want.ndim == 3:
        want = want[:, :1]
    return made.shape == want.shape and distance(made, want) <= _APART
