"""A causal language model on this machine as a judge: ``causal:MODEL``.

It reads its own chat template around the prompt, and what counts is how probable its first word is:
e_yes / (e_yes + e_no), as Qwen3-Reranker and UniME-V2 have it. Nothing is generated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from negmine.errors import UsageError
from negmine.models.base import Settings
from negmine.models.causal_lm import CausalLM, check_causal, classes_of, load_causal_lm
from negmine.models.checkpoint import Checkpoint
from negmine.models.devices import Placement
from negmine.models.resolve import ModelRef, resolve
from negmine.params.model_options import model_options
from negmine.params.per_model import of_model
from negmine.params.rerank import RerankParams
from negmine.scorers.base import Scorer, Scores
from negmine.scorers.judging import prompts as judge_prompts
from negmine.scorers.judging.columns import COLUMNS, scores_of
from negmine.scorers.judging.examination import Ask, Sample
from negmine.scorers.judging.prompts import Prompt
from negmine.scorers.judging.verdicts import by_mass, unjudged, words_of
from negmine.scorers.kind import Kind, Loading, ScorerRef
from negmine.scorers.rows import ModelRows

SCHEME = "causal"
#: How often a document is cut again, where the cut itself made other tokens.
_CUTS = 3
_CLASSES = ("yes", "no", "unsure")


class CausalJudge:
    """Reads query and document in a prompt, and is asked for one token.

    Args:
        model: what reads.
        prompt: how it is asked.
    """

    columns: Mapping[str, pa.DataType] = COLUMNS

    def __init__(self, model: CausalLM, prompt: Prompt) -> None:
        self._model = model
        self._prompt = prompt
        words = words_of(prompt)
        self._classes = classes_of(model.vocabulary(), words.of_token, _CLASSES)
        for name, tokens in zip(_CLASSES[:2], self._classes, strict=False):
            if not len(tokens):
                raise UsageError(
                    f"no token of the model's vocabulary says '{name}' in the prompt's words",
                    where=model.ref.spec,
                    hint="Take a prompt in a language that the model knows: --prompt-file en.",
                )

    @property
    def placement(self) -> Placement:
        """Where the model runs."""
        return self._model.placement

    def describe(self) -> dict[str, Any]:
        """What was loaded, and how it is asked."""
        return {"kind": SCHEME, **self._model.describe(), "prompt": self._prompt.digest}

    def score(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        pairs: np.ndarray,
        progress: Callable[[int], None] | None = None,
    ) -> Scores:
        """The judgement of each pair."""
        return self.score_on(queries, documents, pairs, progress, None)

    def score_on(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        pairs: np.ndarray,
        progress: Callable[[int], None] | None,
        checkpoint: Checkpoint | None,
    ) -> Scores:
        """Likewise; those that ``checkpoint`` has are not made again."""
        return self._judged(queries, documents, pairs, False, progress, checkpoint)

    @property
    def documents_at_once(self) -> int:
        """One."""
        return 1

    def ask(self, sample: Sample) -> Scores:
        """What it says of a sample."""
        return self.score(sample.queries, sample.documents, sample.pairs)

    def otherwise(self) -> Mapping[str, Ask]:
        """With the document first, where the prompt has that."""
        if not self._prompt.can_swap(several=False):
            return {}
        return {
            "document first": lambda sample: self._judged(
                sample.queries, sample.documents, sample.pairs, True, None, None
            )
        }

    def model_rows(
        self, queries: Sequence[str], documents: Sequence[str], pairs: np.ndarray, most: int
    ) -> ModelRows:
        """One row per pair."""
        some = pairs[:: max(1, len(pairs) // most)]
        rows = self._rows(queries, documents, some, False)
        return ModelRows(
            lengths=np.array([len(row) for row in rows], dtype=np.int64),
            batch_size=self._model.settings.batch_size,
            batch_tokens=self._model.batch_tokens,
            per_pair=1.0,
            run=lambda picked: self.score(queries, documents, some[picked]),
        )

    def _judged(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        pairs: np.ndarray,
        swapped: bool,
        progress: Callable[[int], None] | None,
        checkpoint: Checkpoint | None,
    ) -> Scores:
        rows = self._rows(queries, documents, pairs, swapped)
        fits = np.array([len(row) <= self._model.max_length for row in rows], dtype=bool)
        # What is too long even without its document is not read at all.
        read = [row if fit else row[:1] for row, fit in zip(rows, fits.tolist(), strict=True)]
        mass = self._model.next_mass(read, self._classes, progress, checkpoint)
        return scores_of(
            [
                by_mass(*map(float, found)) if fit else unjudged("too_long")
                for found, fit in zip(mass, fits.tolist(), strict=True)
            ]
        )

    def _rows(
        self, queries: Sequence[str], documents: Sequence[str], pairs: np.ndarray, swapped: bool
    ) -> list[list[int]]:
        """Token ids of each pair's prompt; a document that is too long is cut at its end."""
        texts = [(queries[q], documents[d]) for q, d in pairs.tolist()]
        rows = self._model.tokens([self._asked(*pair, swapped) for pair in texts])
        most = self._model.max_length
        for _ in range(_CUTS):
            long = [number for number, row in enumerate(rows) if len(row) > most]
            for number in long:
                query, document = texts[number]
                texts[number] = query, self._shortened(document, len(rows[number]) - most)
                [rows[number]] = self._model.tokens([self._asked(*texts[number], swapped)])
        return rows

    def _shortened(self, document: str, tokens: int) -> str:
        """A document without so many of its last tokens."""
        [own] = self._model.tokens([document])
        [kept] = self._model.beginnings([document], max(0, len(own) - tokens))
        return kept

    def _asked(self, query: str, document: str, swapped: bool) -> str:
        return self._model.prompt(
            self._prompt.asking(query, document, graded=False, swapped=swapped)
        )


def _refer(rest: str) -> ScorerRef:
    model = resolve(rest)
    return ScorerRef(
        f"{SCHEME}:{rest}",
        model.revision,
        partial(_load, model),
        model,
        is_a="judge",
        check=partial(_check, model),
        told=_told,
    )


def _settings(params: RerankParams, name: str) -> Settings:
    return Settings(**model_options(params, name))


def _check(model: ModelRef, params: RerankParams, name: str) -> None:
    check_causal(model, _settings(params, name))
    if of_model(params.judge_by, name) not in ("auto", "logprobs"):
        raise UsageError(
            f"--judge-by: '{name}' writes nothing, and judges by log-probabilities alone",
            hint="Leave it out.",
        )
    if of_model(params.per_call, name) != 1:
        raise UsageError(
            f"--per-call: '{name}' reads one document at a time",
            hint=f"Leave it out, or ask a server: --scorer {name}=llm:MODEL@URL.",
        )
    _prompt(params, name)


def _prompt(params: RerankParams, name: str) -> Prompt:
    return judge_prompts.load(of_model(params.prompt_file, name))


def _told(loading: Loading) -> dict[str, Any]:
    return {"prompt": _prompt(loading.params, loading.name).digest}


def _load(model: ModelRef, loading: Loading) -> Scorer:
    params, name = loading.params, loading.name
    return CausalJudge(load_causal_lm(model, _settings(params, name)), _prompt(params, name))


CAUSAL = Kind(_refer, scheme=SCHEME)
