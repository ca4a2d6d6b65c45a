"""What a filter reads and is asked, checked, and its plan."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from negmine import rules
from negmine.learning import prior
from negmine.params import output_affecting
from negmine.params.filter import FilterParams
from negmine.stages import rank_only
from negmine.stages.filter import differing, earlier, quotas, scales
from negmine.stages.filter.guard import excluded_file
from negmine.stages.filter.options import Columns, resolve, wants_prior
from negmine.table import artifacts
from negmine.table.artifacts.plan import Plan
from negmine.table.candidates import Candidates, open_candidates

VERSION = 4


@dataclass(frozen=True)
class Setup:
    """What a run reads, its parameters checked.

    Attributes:
        params: the parameters, scores' names in full.
        columns: the columns that they read.
        source: the scored candidates.
    """

    params: FilterParams
    columns: Columns
    source: Candidates


def set_up(params: FilterParams, scored: Path) -> Setup:
    """Check the parameters against the scored (or just retrieved) table at ``scored``.

    Raises:
        UsageError: an unknown column, or options that contradict each other.
        MissingInputError: there is no such artifact.
    """
    source = open_candidates(scored, ["retrieve", "rerank"], purpose="the scored candidates")
    reads_kept = params.calibrate_by is not None or bool(quotas.columns(params))
    kept_columns = source.documents.kept if reads_kept else []
    empty = rank_only.empty_in(source)
    params, columns = resolve(params, source.schema(), kept_columns, empty)
    scales.check(params, columns.by, source)
    differing.check_vectors(params, source)
    earlier.check(params, columns.by, source)
    return Setup(params, columns, source)


def fitted_beforehand(params: FilterParams) -> dict[str, str]:
    """What stands in a fingerprint for models that are read and not learned from the table."""
    return {"prior": prior.shipped().identity} if wants_prior(params) else {}


def plan(setup: Setup, out: Path) -> Plan:
    """What the ledger at ``out`` is made from."""
    params = setup.params
    return Plan(
        "filter",
        VERSION,
        {
            **output_affecting(params),
            **rank_only.fingerprint(asdict(setup.columns)),
            "rules": rules.VERSION,
            **fitted_beforehand(params),
            **({"plugins": rules.identities(params)} if params.rule else {}),
        },
        artifacts={"scored": setup.source.artifact},
        files=files_of(params, out),
    )


def files_of(params: FilterParams, out: Path | None = None) -> dict[str, dict[str, Any]]:
    """Records of the files that the options name.

    Args:
        params: the options.
        out: what was made of them before, whose records spare reading them again.

    Raises:
        MissingInputError: one is missing.
    """
    if params.exclude is None:
        return {}
    known = None if out is None else artifacts.recorded_file(out, "exclude")
    return {"exclude": artifacts.external_input(excluded_file(params.exclude), known)}
