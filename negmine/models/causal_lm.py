"""Causal language models of transformers: how probable some tokens are as the next one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from negmine import log
from negmine.errors import UsageError
from negmine.models.base import Settings
from negmine.models.checkpoint import Checkpoint
from negmine.models.counting import Progress
from negmine.models.devices import choose
from negmine.models.limits import check, positions_of
from negmine.models.resolve import ModelRef
from negmine.models.room import Room
from negmine.models.running import fill
from negmine.models.tokens import Ints, attention_mask, chunks, from_lists
from negmine.models.torch_models import NO_LIMIT, TorchModel, autocast, load_torch

Messages = Sequence[dict[str, str]]


@dataclass(frozen=True)
class CausalLM(TorchModel):
    """A loaded model with a chat template.

    Attributes:
        tokenizer: of transformers, a fast one.
    """

    tokenizer: Any

    def describe(self) -> dict[str, object]:
        """Everything that decides the output, for the fingerprint."""
        return self.described(max_length=self.max_length)

    def prompt(self, messages: Messages) -> str:
        """Messages as the model reads them, up to where its answer begins; without thinking."""
        from jinja2 import TemplateError

        try:
            return self._templated(messages)
        except TemplateError:
            # Some templates know no system message.
            system = "".join(f"{one['content']}\n\n" for one in messages if one["role"] == "system")
            rest = [one for one in messages if one["role"] != "system"]
            first = {**rest[0], "content": system + rest[0]["content"]}
            return self._templated([first, *rest[1:]])

    def _templated(self, messages: Messages) -> str:
        made: str = self.tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        return made

    def tokens(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of prompts; what the template has put there is not put there again."""
        found: list[list[int]] = []
        for some in chunks(prompts):
            found += self.tokenizer(some, add_special_tokens=False)["input_ids"]
        return found

    def beginnings(self, texts: Sequence[str], tokens: int) -> list[str]:
        """Each text up to so many of its tokens."""
        found: list[str] = []
        for some in chunks(texts):
            made = self.tokenizer(some, add_special_tokens=False, return_offsets_mapping=True)
            ends = (spans[:tokens] for spans in made["offset_mapping"])
            found += [
                text[: spans[-1][1]] if spans else ""
                for text, spans in zip(some, ends, strict=True)
            ]
        return found

    def vocabulary(self) -> list[str]:
        """The text of every token; empty for special ones."""
        special = set(self.tokenizer.all_special_ids)
        rows = [[number] for number in range(len(self.tokenizer))]
        texts: list[str] = self.tokenizer.batch_decode(rows)
        return ["" if row[0] in special else text for row, text in zip(rows, texts, strict=True)]

    def next_mass(
        self,
        rows: Sequence[Sequence[int]],
        classes: Sequence[Ints],
        progress: Progress | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> npt.NDArray[np.float32]:
        """Probability that the next token is one of each class, float32 [rows, classes].

        Args:
            rows: token ids of each prompt.
            classes: token ids of each class.
            progress: told of rows as their tokens are read; None = nobody.
            checkpoint: rows that it has are not made again.
        """
        import torch

        out = np.zeros((len(rows), len(classes)), dtype=np.float32)
        if not len(rows):
            return out
        ragged = from_lists(rows)
        groups = [torch.from_numpy(one).to(self.placement.device) for one in classes]

        def mass(some: Ints) -> npt.NDArray[np.float32]:
            # On the left, so that the last place of every row is its last token.
            ids = torch.from_numpy(ragged.pad(some, self.tokenizer.pad_token_id or 0, left=True))
            mask = torch.from_numpy(attention_mask(ragged.lengths[some], left=True))
            place = (mask.cumsum(-1) - 1).clamp(min=0)
            given = {"input_ids": ids, "attention_mask": mask, "position_ids": place}
            on_device = {name: one.to(self.placement.device) for name, one in given.items()}
            logits = self.model(**on_device, use_cache=False, logits_to_keep=1).logits
            chance = torch.softmax(logits[:, -1].float(), dim=-1)
            summed = torch.stack([chance[:, group].sum(-1) for group in groups], dim=1)
            found: npt.NDArray[np.float32] = summed.cpu().numpy()
            return found

        with torch.inference_mode(), autocast(self.placement):
            fill(out, self, ragged.lengths, mass, progress, checkpoint)
        return out


def check_causal(ref: ModelRef, settings: Settings) -> None:
    """See by a model's files that it is a causal language model that can be run so.

    Raises:
        UsageError: it is not, or cannot.
    """
    if ref.kind != "unknown" or ref.backend != "torch":
        raise UsageError(
            f"this is no causal language model, but a {ref.kind} ({ref.backend})",
            where=ref.spec,
            hint="Name it without causal: before it.",
        )
    if settings.runtime == "openvino":
        raise UsageError(
            "OpenVINO does not run causal language models here",
            where=f"--runtime, {ref.spec}",
            hint="Leave --runtime out.",
        )
    check(ref, settings)


def load_causal_lm(ref: ModelRef, settings: Settings) -> CausalLM:
    """Load a causal language model.

    Raises:
        UsageError: it has no chat template, or no fast tokenizer.
    """
    placement = choose(settings.device, settings.dtype)
    with log.waiting(f"loading {ref.spec}"):
        made: list[Any] = []

        def construct(location: str, *, device: str, model_kwargs: Any, **named: Any) -> Any:
            from transformers import AutoModelForCausalLM, AutoTokenizer

            made.append(AutoTokenizer.from_pretrained(location, **named))
            loaded = AutoModelForCausalLM.from_pretrained(location, **named, **model_kwargs)
            return loaded.to(device)

        model = load_torch(construct, ref, placement, settings.threads, settings.trust_remote_code)
    tokenizer = made[0]
    if not tokenizer.chat_template or not tokenizer.is_fast:
        raise UsageError(
            "the model's tokenizer has no chat template, by which a judge is asked"
            if tokenizer.is_fast
            else "the model has no fast tokenizer",
            where=ref.spec,
            hint="Name a model that was trained to follow instructions.",
        )
    own = positions_of(model.config.to_dict()) or NO_LIMIT
    length = min(settings.max_length or own, own)
    room = Room(ref.spec, "prompt")
    return CausalLM(ref, settings, model, placement, length, room, tokenizer)


def classes_of(
    vocabulary: Sequence[str], says: Callable[[str], str | None], names: Sequence[str]
) -> list[Ints]:
    """The tokens of a vocabulary that say each of ``names``."""
    said = [says(text) for text in vocabulary]
    return [
        np.array([number for number, one in enumerate(said) if one == name], dtype=np.int64)
        for name in names
    ]
