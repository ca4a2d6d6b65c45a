"""What ``write`` would cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from negmine.commands.estimate import calls
from negmine.commands.estimate.chain import Chain, would_be_remade
from negmine.commands.estimate.cost import Cost, Watch, told
from negmine.commands.estimate.rehearsal import written
from negmine.memory import peak_memory, reset_peak_memory
from negmine.params.values import named
from negmine.params.write import WriteParams
from negmine.scorers import is_served
from negmine.stages import write
from negmine.stages.stage import makes_set, readers_of
from negmine.table import artifacts
from negmine.table.artifacts.replace import Replace
from negmine.table.artifacts.state import State

#: Queries that a trial writes for.
_QUERIES = 64


def cost_of_write(chain: Chain, params: WriteParams, out: Path) -> Cost:
    """Write for some queries of the user's own, where there is an index."""
    cost = Cost("write", out, guesses=list(chain.guesses))
    reset_peak_memory()
    of_ledger = makes_set(params)
    source = chain.given or (chain.table if of_ledger else chain.index)
    assert source is not None
    if not chain.real:
        if artifacts.is_begun(out) and chain.replacing is Replace.NOTHING:
            cost.state = told(State("refused", reason=would_be_remade(out)))
        missing = "a ledger" if of_ledger else "an index"
        cost.guesses.append(f"write: no trial before there is {missing}")
        return cost
    trial = chain.trial("written")
    # Answers are kept beside the result.
    served = params.writer or any(map(is_served, named(params.scorer, "--scorer").values()))
    place, passages = out if served else trial, trial.with_name(f"{trial.name}-index")
    setup = write.set_up(params, source, place, readers_of(), passages=passages)
    with setup.closing:
        return _cost(cost, chain, setup, out)


def _cost(cost: Cost, chain: Chain, setup: write.Setup, out: Path) -> Cost:
    """The same of a run whose parameters are checked."""
    params = setup.params
    state_of = artifacts.state_of_file if makes_set(params) else artifacts.state_of
    state = state_of(out, write.plan(setup, out), replacing=chain.replacing)
    cost.state = told(state)
    if cost.skipped:
        return cost
    cost.documents = len(setup.documents)
    cost.queries = sum(len(group.qids) for group in setup.groups())
    if setup.writing is not None:
        found, checks = setup.writing.calls(setup.groups())
        calls.count(cost, setup.writing.name, params, found)
        cost.guesses.append(
            f"write: {cost.calls:,} calls write, of which {cost.calls_stored:,} are answered "
            f"already; at most {checks:,} check what was written, and are not in the price"
        )
    judges = setup.verifying.asked
    cases = sum(len(group.cases) for group in setup.groups()) if judges else 0
    for name in judges:
        of = setup.verifying.references[name].is_a
        examined = f"at most {4 * params.examine:,} calls examine the judge '{name}', "
        cost.guesses.append(
            f"write: {examined if of == 'judge' else ''}at most {cases * (params.each + 1):,} ask "
            f"'{name}' about texts and positives; what is answered already is not asked again"
        )
    # Nobody is asked for an estimate.
    if setup.writing is not None or judges:
        return cost
    trial = chain.trial("written")
    watch = Watch()
    size = min(_QUERIES, cost.queries)
    with watch:
        outcome = write.run(replace(params, limit=size), setup.source, trial, readers_of())
    made = artifacts.open_artifact(outcome.path)
    share = cost.queries / max(1, size)
    cost.rows = round(int(made.counts["pairs"]) * share)
    cost.add("texts", watch.seconds * share)
    cost.disk_bytes = int(written(made) * share)
    cost.memory_bytes = peak_memory() or 0
    chain.written[str(out)] = made.path
    return cost
