"""Texts as a sentence-transformers model reads them: tokenised once, padded by the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from negmine.models.base import DOCUMENT_PROMPTS, PromptedSettings, Side
from negmine.models.counting import Progress, tell_tokens
from negmine.models.resolve import ModelRef
from negmine.models.token_cache import Tokens, key_of, tokenizer_name
from negmine.models.token_files import tokens_of
from negmine.models.tokens import Ints, Ragged, attention_mask, chunks, concatenate, from_lists
from negmine.models.torch_models import TorchModel, characters, is_plain_text_model

#: Texts that show how a model reads: empty, special tokens, accents and capitals, spaces.
_PROBES = ("", "A [MASK] <mask> [SEP] </s> Naïve  Text, of course.", " a\nb ")
#: Of a model that reads more, it is not tried whether it does.
_LONGEST = 8192


@dataclass(frozen=True)
class TorchTexts:
    """What a model makes of the texts of one side.

    Attributes:
        ref: which model.
        model: a model of sentence-transformers with one side or two.
        side: whose prompt, length limit and route the texts get.
        prompt: what is put before each; None is nothing.
        max_length: most tokens of a text.
    """

    ref: ModelRef
    model: Any
    side: Side
    prompt: str | None
    max_length: int

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
            tell_tokens(progress, lengths, self._most)
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
        return tokens_of(self.ref, self.side, self._key, texts, self._tokenised)

    @cached_property
    def _probes(self) -> Tokens:
        """What is made of texts that show how a model reads, the first of them too long to be read.

        What decides is said in many places, of the tokenizer, the model and the library.
        """
        numbers = " ".join(map(str, range(min(self.max_length, _LONGEST) + 1)))
        return self._tokenised([numbers, *_PROBES])

    @cached_property
    def _most(self) -> int:
        """Tokens that are read of a text; ``max_length`` unless the library is told less."""
        length = int(self._probes.columns["input_ids"].lengths[0])
        return min(self.max_length, length) if self.max_length <= _LONGEST else self.max_length

    @cached_property
    def _key(self) -> str | None:
        """Names all that decides what is made of a text; None where that cannot be told."""
        first = self.model[0]
        tokenizer = first.tokenizer
        name = tokenizer_name(tokenizer.backend_tokenizer)
        if name is None:
            return None
        made = self._probes
        probed = [
            (column, rows.values.tobytes(), rows.offsets.tobytes())
            for column, rows in made.columns.items()
        ]
        settings = (
            *(type(tokenizer).__name__, tokenizer.truncation_side, tokenizer.split_special_tokens),
            tokenizer.model_input_names,
        )
        how = (self.side, self.prompt, self.max_length, first.get_config_dict(), made.constants)
        return key_of(name, settings, how, probed)

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
        return self._sides[side]

    @cached_property
    def _sides(self) -> dict[Side, TorchTexts]:
        settings = self.settings
        asked: dict[Side, str | None] = {
            "query": settings.query_prompt,
            "document": settings.doc_prompt,
        }
        return {
            side: TorchTexts(
                self.ref, self.model, side, prompt_of(self.model, side, prompt), self.max_length
            )
            for side, prompt in asked.items()
        }

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
