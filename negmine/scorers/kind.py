"""What a kind of scorer says about itself: how one is referred to, checked and loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from negmine.endpoints.asking import Client
from negmine.endpoints.budget import Budget
from negmine.endpoints.settings import Settings
from negmine.endpoints.store import FOLDER, Store, Unwritten
from negmine.models.resolve import ModelRef
from negmine.params.rerank import RerankParams
from negmine.scorers.base import Prompts, Scorer


@dataclass(frozen=True)
class Loading:
    """How a scorer is asked to run.

    Attributes:
        params: the options.
        name: the scorer's, as options name it.
        prompts: what is put before its texts.
        place: the folder that holds the result, where what it is told may be kept; None = the
            current one.
        budget: what may be spent, by all scorers of the command together.
        closing: takes up what is to be closed when the command is done.
        trial: whether nothing may be written, because the work is only estimated.
    """

    params: RerankParams
    name: str
    prompts: Prompts
    place: Path | None = None
    budget: Budget | None = None
    closing: ExitStack | None = None
    trial: bool = False

    def client(self, settings: Settings) -> Client:
        """The connection to a server, whose answers are kept with the result; not in a trial."""
        store = Unwritten if self.trial else Store
        return Client(settings, store((self.place or Path()) / FOLDER), self.budget)


def _nothing_to_check(params: RerankParams, name: str) -> None:
    """Nothing can be wrong."""


def _nothing_more(loading: Loading) -> dict[str, Any]:
    """Nothing else decides."""
    return {}


@dataclass(frozen=True)
class ScorerRef:
    """A scorer that is asked for, not loaded yet.

    Attributes:
        spec: what the user wrote.
        revision: what stands for the model, or for another package's code, in the fingerprint.
        load: loads it.
        model: the model on this machine; None where there is none, or nothing is known of it.
        is_a: what it is; None where that is not known.
        check: sees that the options of the scorer so named are such that it can honour.
        told: what else decides what it says with these options, for the fingerprint.
    """

    spec: str
    revision: str
    load: Callable[[Loading], Scorer]
    model: ModelRef | None = None
    is_a: str | None = None
    check: Callable[[RerankParams, str], None] = _nothing_to_check
    told: Callable[[Loading], Mapping[str, Any]] = _nothing_more


@dataclass(frozen=True)
class Kind:
    """A kind of scorer.

    Attributes:
        refer: the scorer that a spec names; of a kind with a scheme what stands after it.
        scheme: what such a spec begins with, before ``:``; None = it is a model's.
        options: fields of the options that only some scorers of this kind have, and what these are
            (:attr:`ScorerRef.is_a`).
        served: whether a server is asked.
    """

    refer: Callable[[str], ScorerRef]
    scheme: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    served: bool = False
