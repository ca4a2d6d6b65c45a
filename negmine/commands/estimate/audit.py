"""What a judge would be asked by ``audit --judge NAME=MODEL``."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from negmine.commands.audit.sampled import asking
from negmine.commands.audit.sampled.run import to_ask
from negmine.commands.estimate import calls
from negmine.commands.estimate.cost import Cost
from negmine.params.commands import AuditParams
from negmine.params.filter import FilterParams
from negmine.scorers.judging.calls import Calls
from negmine.stages import examination


def cost_of_audit(
    params: FilterParams, audit: AuditParams, source: Path, of_filter: Collection[str]
) -> Cost:
    """Draw the sample, and count what asking about it would take, an examination first.

    Args:
        params: the filter.
        audit: the judge and the sample.
        source: a ledger, or a table that is filtered.
        of_filter: the options of the filter that were given.
    """
    cost = Cost("audit", source)
    with to_ask(params, audit, source, of_filter) as found:
        if found is None:
            cost.guesses.append("audit: nobody is asked")
            return cost
        judge, ledger, about = found
        cost.rows = len(about.pairs)
        scorer = judge.load()
        if not isinstance(scorer, calls.Asks):
            cost.guesses.append(f"{judge.name}: a model on this machine, whose time is not told")
            return cost
        asked = Calls()
        if audit.examine and isinstance(scorer, calls.AsksToExamine):
            before = asking.table_before(ledger)
            drawn = examination.sample(before, audit.examine, scorer.documents_at_once)
            asked |= scorer.calls_to_examine(drawn)
        asked |= scorer.calls(about.queries, about.documents, about.pairs)
        calls.count(cost, judge.name, audit, asked)
    return cost
