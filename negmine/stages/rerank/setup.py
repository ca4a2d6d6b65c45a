"""What ``rerank`` is asked, checked against the candidates, and the plan of what it makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from negmine import log, memory
from negmine.endpoints.budget import Budget
from negmine.endpoints.settings import limits_of
from negmine.errors import UsageError, did_you_mean
from negmine.learning.fit_sample import FitSample
from negmine.models.footprint import models_memory
from negmine.params import output_affecting
from negmine.params.llm import idle
from negmine.params.per_model import names_in, options_of_models
from negmine.params.rerank import RerankParams
from negmine.params.values import named, per_name
from negmine.scorers import (
    MAY_BE_REFUSED,
    Loading,
    Prompts,
    Scorer,
    ScorerRef,
    check_options,
    is_served,
    load_scorer,
    refer,
)
from negmine.sources import kinds
from negmine.stages import cascade as cascades
from negmine.stages import lazily
from negmine.stages.cascade import Cascade
from negmine.stages.fit_first import Known
from negmine.stages.lazily import Until
from negmine.table import schemas
from negmine.table.artifacts.plan import Plan
from negmine.table.candidates import Candidates, open_candidates
from negmine.table.names import score_column

VERSION = 2


@dataclass(frozen=True)
class Setup:
    """What a run reads, its parameters checked.

    Attributes:
        source: the candidates.
        references: each scorer, not loaded yet.
        prompts: what each scorer puts before its texts.
        cascade: which rows each scorer sees.
        until: who says that a query has enough; None = every row is scored.
        sample: the queries whose rows are all that is scored; None = all queries.
        known: what is scored already, of such queries.
        place: the folder that holds the result; what scorers are told is kept there.
        spending: what all scorers together may spend, and have spent.
        closing: what loaded scorers hold open, closed when the work is done.
        trial: whether the work is only estimated, so that scorers keep nothing.
    """

    source: Candidates
    references: dict[str, ScorerRef]
    prompts: dict[str, Prompts]
    cascade: Cascade
    until: Until | None = None
    sample: FitSample | None = None
    known: Known | None = None
    place: Path = Path()
    spending: Budget = field(default_factory=Budget)
    closing: ExitStack = field(default_factory=ExitStack)
    trial: bool = False

    def budget(self, size: str | None) -> memory.Budget:
        """What a run with ``--memory SIZE`` may hold; of other packages' scorers it is not known.

        Raises:
            UsageError: the ceiling cannot hold what is needed.
        """
        models = [one.model for one in self.references.values() if one.model is not None]
        return memory.budget(size, **models_memory(models))

    def load(self, name: str, params: RerankParams) -> Scorer:
        """Load a scorer."""
        return load_scorer(self.references[name], self._loading(name, params))

    def model(self, name: str, params: RerankParams) -> dict[str, Any]:
        """What decides what a scorer says, for the fingerprint."""
        reference = self.references[name]
        told = reference.told(self._loading(name, params))
        return {"model": reference.spec, "revision": reference.revision, **told}

    def _loading(self, name: str, params: RerankParams) -> Loading:
        prompts = self.prompts[name]
        return Loading(params, name, prompts, self.place, self.spending, self.closing, self.trial)


#: Makes who says that a query has enough, of (options, candidates, names of the scorers, bytes of
#: texts that are held).
MakeUntil = Callable[[RerankParams, Candidates, Sequence[str], int], Until]


def set_up(params: RerankParams, candidates: Path, until: MakeUntil | None = None) -> Setup:
    """Check the parameters against the candidates (or a scored artifact, to add columns).

    Raises:
        UsageError: an unknown column, or a name that is taken.
        MissingInputError: there are no candidates, or no such model.
    """
    models = named(params.scorer, "--scorer")
    kinds.check_names(models, "--scorer")
    if not models:
        raise UsageError("no --scorer", hint="For example: --scorer ce=MODEL")
    source = open_candidates(candidates, ["retrieve", "rerank"])
    schema = source.schema()
    taken = schemas.score_names(schema)
    for name in models:
        if name in taken:
            raise UsageError(
                f"--scorer: the table has a score '{name}' already", hint="Choose another name."
            )
    if params.top_by is not None:
        known = [*taken, "best"]
        if params.top_by.removeprefix(score_column("")) not in known:
            raise UsageError(
                f"--top-by: no column '{params.top_by}'", hint=did_you_mean(params.top_by, known)
            )
    references = {name: refer(model) for name, model in models.items()}
    check_options(references, params)
    if not any(map(is_served, models.values())):
        log.warn(idle(params))
    query_prompts = per_name(params.query_prompt, models, "--query-prompt")
    doc_prompts = per_name(params.doc_prompt, models, "--doc-prompt")
    prompts = {name: Prompts(query_prompts.get(name), doc_prompts.get(name)) for name in references}
    screened = cascades.cascade(params, list(models), schema)
    setup = Setup(source, references, prompts, screened, spending=Budget(*limits_of(params)))
    if until is None:
        return setup
    at_once = setup.budget(params.memory).shingles
    return replace(setup, until=until(params, source, list(references), at_once))


def check_models(params: RerankParams) -> None:
    """See, before there are candidates, that the scorers can do what is asked of them.

    Raises:
        NegmineError: see :func:`negmine.scorers.check_options`.
    """
    default = RerankParams()
    # What every model takes says nothing; to look at models takes time.
    told = {name: getattr(params, name) for name in options_of_models(params)}
    asked = [name for name, value in told.items() if names_in(value)]
    asked += [name for name in MAY_BE_REFUSED if getattr(params, name) != getattr(default, name)]
    models = named(params.scorer, "--scorer")
    # What stands for a server can be wrong in itself.
    asked += [name for name, spec in models.items() if is_served(spec)]
    if asked:
        check_options({name: refer(model) for name, model in models.items()}, params)


def plan(params: RerankParams, setup: Setup, out: Path) -> Plan:
    """What the scored artifact at ``out`` is made from."""
    until = setup.until
    return Plan(
        "rerank",
        VERSION,
        {
            **output_affecting(params),
            # Where a server is decides nothing.
            "scorer": [f"{name}={one.spec}" for name, one in setup.references.items()],
            **({"only_if": setup.cascade.record()} if setup.cascade.screens else {}),
            **({} if setup.sample is None else {"sample": setup.sample.record()}),
            **({} if until is None else _stopping(params, until)),
        },
        files={} if until is None else until.files(out),
        artifacts={"candidates": setup.source.artifact},
        models={name: setup.model(name, params) for name in setup.references},
    )


def _stopping(params: RerankParams, until: Until) -> dict[str, Any]:
    """What decides when scoring stops; what a file is called does not."""
    entries = [entry for entry in params.until if not entry.startswith("exclude=")]
    # How rows are taken in turns is no option: which of them are scored hangs on it.
    return {"until": entries, "enough_by": dict(until.record()), "turns": lazily.TURNS}
