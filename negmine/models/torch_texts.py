"""Texts as a sentence-transformers model reads them: tokenised once, padded by the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from negmine.models.base import DOCUMENT_PROMPTS, PromptedSettings, Side
from negmine.models.counting import Progress, tell_tokens
from negmine.models.resolve import ModelRef
from negmine.models.token_files import once
from negmine.models.tokenised import Tokens, name_of, way
from negmine.models.tokens import Ints, Ragged, attention_mask, chunks, concatenate, from_lists
from negmine.models.torch_models import TorchModel, characters, is_plain_text_model


@dataclass(frozen=True)
class TorchTexts:
    """What a model makes of the texts of one side.

    Attributes:
        ref: which model.
        model: a model of sentence-transformers with one side or two.
        side: whose prompt, length limit and route the texts get.
        prompt: what is put before each; None is nothing.
        max_length: most tokens of a text.
        tokenizer: gives the name of the tokenizer, where there is a fast one.
    """

    ref: ModelRef
    model: Any
    side: Side
    prompt: str | None
    max_length: int
    tokenizer: Callable[[], str]

    def lengths(self, texts: Sequence[str]) -> Ints:
        """Tokens of each text as the model reads it, by which batches are cut."""
        made = self._tokens(texts)
        if made is None:
            return characters(texts, self.max_length)
        return made.columns["input_ids"].lengths

    def batch_maker(
        self, texts: Sequence[str], progress: Progress | None = None
    ) -> tuple[Ints, Callable[[Ints], dict[str, Any]]]:
        """Tokens of each text, and what makes the features of some rows.

        Args:
            texts: all that are encoded together.
            progress: may want to know of the tokens.
        """
        made = self._tokens(texts)
        if made is not None:
            lengths = made.columns["input_ids"].lengths
            tell_tokens(progress, lengths, self.max_length)
            return lengths, partial(self._padded, made)

        def by_the_model(rows: Ints) -> dict[str, Any]:
            batch = [texts[row] for row in rows]
            features: dict[str, Any] = self.model.preprocess(
                batch, prompt=self.prompt, task=self.side
            )
            return features

        return characters(texts, self.max_length), by_the_model

    def _tokens(self, texts: Sequence[str]) -> Tokens | None:
        """Features of texts tokenised once, to be padded here, and those that are no columns.

        ``None`` where the model's own way to make features is more than a tokenizer (images,
        chat templates, routes, static vectors, queries filled up with mask tokens).
        """
        if not texts or not is_plain_text_model(self.model, self.side):
            return None
        config = self.model[0].get_config_dict()
        how = way(self.tokenizer(), self.side, self.prompt, self.max_length, config)
        return once(self.ref, self.side, how, texts, self._tokenised)

    def _tokenised(self, texts: Sequence[str]) -> Tokens:
        columns: dict[str, list[Ragged]] = {}
        constants: dict[str, Any] = {}
        for chunk in chunks(texts):
            features = self.model.preprocess(
                chunk,
                prompt=self.prompt,
                task=self.side,
                processing_kwargs={"text": {"padding": False}, "common": {"return_tensors": None}},
            )
            for name, value in features.items():
                if name == "attention_mask":
                    continue
                if isinstance(value, list):
                    columns.setdefault(name, []).append(from_lists(value))
                else:
                    constants[name] = value
        return Tokens({name: concatenate(parts) for name, parts in columns.items()}, constants)

    def _padded(self, tokens: Tokens, rows: Ints) -> dict[str, Any]:
        import torch

        tokenizer = self.model.tokenizer
        left = tokenizer.padding_side == "left"
        fill = {"input_ids": tokenizer.pad_token_id, "token_type_ids": tokenizer.pad_token_type_id}
        arrays = {
            name: column.pad(rows, fill.get(name) or 0, left=left)
            for name, column in tokens.columns.items()
        }
        lengths = tokens.columns["input_ids"].lengths[rows]
        arrays["attention_mask"] = attention_mask(lengths, left=left)
        features = {name: torch.from_numpy(array) for name, array in arrays.items()}
        return {**tokens.constants, **features}


def prompt_of(model: Any, side: Side, asked: str | None) -> str | None:
    """What is put before a text: ``asked``, or what the model's own methods for a side would put.

    Args:
        model: a model of sentence-transformers.
        side: ``query`` as in ``encode_query``, ``document`` as in ``encode_document``.
        asked: the user's; None leaves it to the model.
    """
    if asked is not None:
        return asked
    prompts: dict[str, str] = model.prompts
    for name in ("query",) if side == "query" else DOCUMENT_PROMPTS:
        if name in prompts:
            return prompts[name]
    return prompts.get(model.default_prompt_name)


@dataclass(frozen=True)
class TorchTextModel(TorchModel):
    """A loaded model of sentence-transformers that reads texts of two sides, each by itself."""

    settings: PromptedSettings

    def texts(self, side: Side) -> TorchTexts:
        """How the texts of a side are read."""
        settings = self.settings
        asked = settings.query_prompt if side == "query" else settings.doc_prompt
        prompt = prompt_of(self.model, side, asked)
        length, name = self.max_length, lambda: self._tokenizer
        return TorchTexts(self.ref, self.model, side, prompt, length, name)

    @cached_property
    def _tokenizer(self) -> str:
        return name_of(self.model[0].tokenizer.backend_tokenizer)

    def lengths(self, texts: Sequence[str], side: Side) -> Ints:
        """Tokens of each text as the model reads it, by which batches are cut."""
        return self.texts(side).lengths(texts)

    def described(self, **own: object) -> dict[str, object]:
        """Likewise, with the prompts of both sides."""
        return super().described(
            query_prompt=self.texts("query").prompt,
            doc_prompt=self.texts("document").prompt,
            max_length=self.max_length,
            **own,
        )
