"""Cross-encoders of PyTorch, by sentence-transformers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from negmine.errors import UsageError
from negmine.models.base import CrossEncoderSettings, PairTexts, Scores, checked
from negmine.models.checkpoint import Checkpoint
from negmine.models.counting import Progress, tell_tokens
from negmine.models.devices import choose
from negmine.models.pairs import PairRows, PairTokenizer, pair_tokenizer, probes
from negmine.models.resolve import ModelRef
from negmine.models.room import Room
from negmine.models.running import fill
from negmine.models.tokens import Ints, attention_mask
from negmine.models.torch_models import (
    TorchModel,
    autocast,
    characters,
    is_plain_text_model,
    load_torch,
    on_device,
    torch_max_length,
)
from negmine.models.trial import Run, settle


@dataclass(frozen=True)
class _TorchCrossEncoder(TorchModel):
    settings: CrossEncoderSettings
    activation: Callable[[Any], Any]
    activation_name: str
    tokenizer: PairTokenizer | None

    def describe(self) -> dict[str, object]:
        """Everything that decides the output, for the fingerprint."""
        return self.described(max_length=self.max_length, activation=self.activation_name)

    def score(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        pairs: npt.NDArray[np.integer],
        progress: Progress | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Scores:
        """One float32 score per row ``(query index, document index)`` of ``pairs``."""
        import torch

        pairs = checked(pairs)
        out = np.empty(len(pairs), dtype=np.float32)
        if not len(pairs):
            return out
        lengths, make = self._batch_maker(queries, documents, pairs)
        if self.tokenizer is not None:
            tell_tokens(progress, lengths, self.max_length)

        def scores(rows: Ints) -> Scores:
            features = on_device(make(rows), self.placement.device)
            made = self.activation(self.model(features)["scores"].float())
            found: Scores = made.reshape(len(rows)).cpu().numpy()
            return found

        with torch.inference_mode(), autocast(self.placement):
            fill(out, self, lengths, scores, progress, checkpoint)
        return out

    def settled(
        self,
        texts: Callable[[], PairTexts],
        rows: Callable[[], int],
        before: Mapping[str, Any] | None,
    ) -> tuple[_TorchCrossEncoder, dict[str, Any]]:
        """The model as it runs for an artifact; see :class:`negmine.models.base.Settles`."""

        def sample() -> tuple[Ints, Run[_TorchCrossEncoder]]:
            queries, documents, pairs = texts()

            def run(model: _TorchCrossEncoder, rows: Ints) -> Scores:
                return model.score(queries, documents, pairs[rows])

            return self.lengths(queries, documents, pairs), run

        return settle(self, before, rows, sample, partial(load_torch_cross_encoder, self.ref))

    def lengths(
        self, queries: Sequence[str], documents: Sequence[str], pairs: npt.NDArray[np.integer]
    ) -> Ints:
        """Tokens of each pair as the model reads it, by which batches are cut."""
        pairs = checked(pairs)
        if self.tokenizer is None:
            return self._characters(queries, documents, pairs)
        return self.tokenizer.rows(queries, documents, pairs).lengths

    def _characters(self, queries: Sequence[str], documents: Sequence[str], pairs: Ints) -> Ints:
        lengths = (
            characters(queries, self.max_length)[pairs[:, 0]]
            + characters(documents, self.max_length)[pairs[:, 1]]
        )
        return np.minimum(lengths, self.max_length)

    def _batch_maker(
        self, queries: Sequence[str], documents: Sequence[str], pairs: Ints
    ) -> tuple[Ints, Callable[[Ints], dict[str, Any]]]:
        """Tokens of each pair, and what makes the features of some rows."""
        if self.tokenizer is not None:
            made = self.tokenizer.rows(queries, documents, pairs)
            return made.lengths, partial(self._padded, made)
        prompt = default_prompt(self.model)

        def by_the_model(rows: Ints) -> dict[str, Any]:
            # Chat templates, prompts.
            batch = [(queries[q], documents[d]) for q, d in pairs[rows].tolist()]
            features: dict[str, Any] = self.model.preprocess(batch, prompt=prompt)
            return features

        return self._characters(queries, documents, pairs), by_the_model

    def _padded(self, made: PairRows, rows: Ints) -> dict[str, Any]:
        import torch

        tokenizer = self.model.tokenizer
        left = tokenizer.padding_side == "left"
        ids, types = made.batch(rows, tokenizer.pad_token_id or 0, left)
        features: dict[str, Any] = {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy(attention_mask(made.lengths[rows], left)),
            "modality": "text",
        }
        if "token_type_ids" in tokenizer.model_input_names:
            features["token_type_ids"] = torch.from_numpy(types)
        return features


def default_prompt(model: Any) -> str | None:
    """The prompt that ``CrossEncoder.predict`` would use by itself."""
    prompt: str | None = model.prompts.get(model.default_prompt_name)
    return prompt


def load_torch_cross_encoder(ref: ModelRef, settings: CrossEncoderSettings) -> _TorchCrossEncoder:
    """Load a cross-encoder that PyTorch runs, compiled where it may be."""
    import torch
    from sentence_transformers import CrossEncoder as Model

    from negmine.models.compiled import compile_model
    from negmine.models.first_token import read_first_token_alone
    from negmine.models.int8 import into_int8

    placement = choose(settings.device, settings.dtype, int8=True)
    model = load_torch(Model, ref, placement, settings.threads, settings.trust_remote_code)
    if model.num_labels != 1:
        raise UsageError(
            f"the model gives {model.num_labels} values per pair; a reranker gives one",
            where=ref.spec,
            hint="Use a cross-encoder with num_labels = 1.",
        )
    length = torch_max_length(model, settings.max_length, ref)
    activation = {
        "auto": model.activation_fn,
        "none": torch.nn.Identity(),
        "sigmoid": torch.nn.Sigmoid(),
    }[settings.activation]
    name = type(activation).__name__.lower().replace("identity", "none")
    tokenizer = _fast_pairs(model, length)
    read_first_token_alone(model, placement)
    if placement.dtype == "int8":
        into_int8(model, ref.spec)
    placement = compile_model(model, placement, settings.runtime, settings.threads, ref.spec)
    room = Room(ref.spec, "pair")
    return _TorchCrossEncoder(
        ref, settings, model, placement, length, room, activation, name, tokenizer
    )


def _fast_pairs(model: Any, max_length: int) -> PairTokenizer | None:
    """Pairs from texts tokenised once, if they are what the model itself would make."""
    if not is_plain_text_model(model) or default_prompt(model):
        return None
    from tokenizers import Tokenizer

    # A copy: ours is truncated differently, and transformers sets its own at every call.
    tokenizer = Tokenizer.from_str(model.tokenizer.backend_tokenizer.to_str())
    tried = pair_tokenizer(tokenizer, max_length)
    queries, documents, pairs = probes(max_length)
    rows = tried.rows(queries, documents, pairs)
    for row, (q, d) in enumerate(pairs.tolist()):
        own = model.preprocess([(queries[q], documents[d])])
        if own.get("modality") != "text":
            return None
        ids, types = rows.batch(np.array([row]), pad_id=0)
        own_types = own.get("token_type_ids")
        if own["input_ids"].tolist() != ids.tolist() or (
            own_types is not None and own_types.tolist() != types.tolist()
        ):
            return None
    return tried
