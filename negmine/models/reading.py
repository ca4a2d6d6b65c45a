"""The transformer of a sentence-transformers model: what it is given, and the output that is read.

Whoever puts something else in a transformer's place (compiled, with fewer products, in other
arithmetic) compares the two on the same probes first.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch

#: (rows, tokens, tokens of the last row) of each probe.
_PROBES = ((2, 7, 5), (3, 33, 4), (1, 12, 12), (5, 64, 63))
_FEATURES = ("input_ids", "attention_mask", "token_type_ids")


class NotAsKnown(Exception):
    """Why a transformer stays as it is."""


class Read(torch.nn.Module):  # type: ignore[misc]
    """A transformer as a function from features to the one output that is read.

    Attributes:
        model: the transformer.
        output: the name of what is read.
    """

    def __init__(self, model: torch.nn.Module, output: str, transformer: Any) -> None:
        super().__init__()
        self.model, self.output = model, output
        # Not a module of this one: it holds the model, too.
        self._of = (transformer,)

    @classmethod
    def of(cls, transformer: Any) -> Self:
        """That of a ``Transformer`` module.

        Raises:
            NotAsKnown: it is no plain text model.
        """
        from negmine.models.torch_models import is_text_transformer

        if not is_text_transformer(transformer):
            raise NotAsKnown("its inputs are not the output of a tokenizer alone")
        how = transformer.modality_config["text"]
        output = how["method_output_name"]
        if how["method"] != "forward" or not isinstance(output, str):
            raise NotAsKnown(f"it is read as {how['method']}: {output}")
        asked = transformer.tokenizer.model_input_names
        if unknown := sorted(set(asked) - set(_FEATURES)):
            raise NotAsKnown(f"it asks for {', '.join(unknown)}")
        return cls(transformer.model, output, transformer).eval()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """What is read, for features of padded rows."""
        given = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            given["token_type_ids"] = token_type_ids
        read: torch.Tensor = self.model(**given, return_dict=True)[self.output]
        return read

    def probes(self) -> list[dict[str, torch.Tensor]]:
        """Features of random tokens, of several lengths, the last row of each padded."""
        return [self._probe(*shape) for shape in _PROBES]

    def _probe(self, rows: int, tokens: int, last: int) -> dict[str, torch.Tensor]:
        (transformer,) = self._of
        tokenizer = transformer.tokenizer
        tokens = min(tokens, transformer.max_seq_length or tokens)
        mask = np.ones((rows, tokens), dtype=np.int64)
        mask[-1, min(last, tokens) :] = 0
        if tokenizer.padding_side == "left":
            mask = np.ascontiguousarray(mask[:, ::-1])
        drawn = np.random.default_rng(rows).integers(0, len(tokenizer), mask.shape)
        ids = np.where(mask == 1, drawn, tokenizer.pad_token_id or 0)
        arrays = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        asked = tokenizer.model_input_names
        return {name: torch.from_numpy(arrays[name]) for name in _FEATURES if name in asked}


def distance(made: torch.Tensor, want: torch.Tensor) -> float:
    """How far one output is from another, as a share of that one's norm."""
    return float((made - want).norm() / want.norm())
