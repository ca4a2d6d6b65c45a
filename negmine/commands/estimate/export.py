"""What ``export`` would cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow.compute as pc

from negmine import memory
from negmine.commands.estimate.calls import BYTES_A_TOKEN, count_server
from negmine.commands.estimate.chain import Chain, twice, would_be_remade
from negmine.commands.estimate.cost import Cost, Watch, told
from negmine.commands.estimate.evaluation import add_evaluation
from negmine.commands.estimate.rehearsal import restricted
from negmine.memory import peak_memory, reset_peak_memory
from negmine.params.export import ExportParams
from negmine.stages import export
from negmine.table import artifacts
from negmine.table.artifacts.reading import Artifact
from negmine.table.artifacts.replace import Replace
from negmine.table.artifacts.state import State
from negmine.table.candidates import open_candidates


def cost_of_export(chain: Chain, params: ExportParams, out: Path) -> Cost:
    """What the examples and the evaluation set would cost, whichever are asked for."""
    assert chain.table is not None
    reset_peak_memory()
    if params.format == export.AS_INPUT:
        return _cost_of_set(chain, params, out)
    setup = export.set_up(params, chain.table, out)
    if export.only_beir(params, out):
        cost = Cost("export", out, guesses=list(chain.guesses))
    else:
        cost = _cost_of_examples(chain, params, setup, out)
    if params.beir is not None:
        add_evaluation(chain, cost, params, setup)
    return cost


def _cost_of_set(chain: Chain, params: ExportParams, out: Path) -> Cost:
    """Read the beginning of the training set."""
    assert chain.table is not None
    cost = Cost("export", out, guesses=list(chain.guesses))
    source = open_candidates(chain.table, ["filter"])
    if chain.real:
        plans = export.plans_of_set(params, source, out)
        states = [
            artifacts.state_of_file(path, made_of, replacing=chain.replacing)
            for path, made_of in plans
        ]
        cost.state = told(next((one for one in states if one.kind != "made"), states[-1]))
    elif artifacts.is_begun(out) and chain.replacing is Replace.NOTHING:
        cost.state = told(State("refused", reason=would_be_remade(out)))
    cost.documents, cost.queries, cost.rows = chain.documents, chain.queries, chain.rows
    if cost.skipped:
        return cost
    with Watch() as reading:
        part, whole = export.beginning_of_set(source)
    # It is read for the set and for the diff.
    cost.add("the training set", 2 * reading.seconds * max(1.0, whole / max(1, part)))
    cost.disk_bytes = whole
    cost.memory_bytes = peak_memory() or 0
    cost.guesses.append("the cleaned set is as large as the set")
    return cost


def _cost_of_examples(chain: Chain, params: ExportParams, setup: export.Setup, out: Path) -> Cost:
    """Export one part of the ledger, then two."""
    cost = Cost("export", out, guesses=list(chain.guesses))
    if chain.real and str(out) != "-":
        cost.state = told(_export_state(params, setup, out, chain.replacing))
    elif str(out) != "-" and artifacts.is_begun(out) and chain.replacing is Replace.NOTHING:
        cost.state = told(State("refused", reason=would_be_remade(out)))
    cost.documents, cost.queries = chain.documents, chain.queries
    if cost.skipped:
        return cost
    documents = chain.corpus_of(setup.source)
    if params.limit is not None and params.limit < chain.queries:
        chain.rows = round(chain.rows * params.limit / chain.queries)
        chain.queries = params.limit
    ending = setup.suffix or ""
    at_once = memory.budget(params.memory).texts

    outcomes = []
    tried = replace(params, limit=None, allow_empty=True, beir=None)
    # Nobody is asked for an estimate.
    asked_nobody = replace(setup, servers=replace(setup.servers, trial=True))

    def exported(number: int, names: list[str]) -> Artifact:
        some = replace(asked_nobody, source=restricted(setup.source, names))
        target = chain.trial(f"export-{number}{ending}")
        outcomes.append(export.make(tried, some, target))
        return some.source.artifact

    some, seconds = twice(setup.source, exported)
    mined = sum(some.rows(name) for name in some.parts)
    grown = chain.rows / max(1, mined)
    docids = some.read(some.parts[0], ["docid"]).column("docid").combine_chunks().unique()
    with Watch() as reading:
        documents.texts(docids[:64])
    examples = outcomes[-1].counts["examples"]
    mean = chain.text_bytes / max(1, chain.documents)
    negatives = outcomes[-1].counts.get(export.NEGATIVES[params.negatives], 0)
    chosen = outcomes[-1].counts.get("positives", 0) + negatives
    passes = max(1, -(-int(chosen * grown * mean) // at_once)) if params.texts else 0
    # What was timed reads the corpus once for a part or two, the run once for many of them.
    cost.add("examples", seconds(chain.rows) - reading.seconds * max(0.0, grown - 1))
    more = passes * chain.documents / len(documents) - 1
    cost.add("texts", reading.seconds * max(0.0, more))
    cost.documents, cost.queries = chain.documents, chain.queries
    if calls := export.calls_for(params, setup.source, chain.queries):
        texts = setup.source.queries(some.parts[0]).column("text")
        each = pc.mean(pc.binary_length(texts)).as_py() or 0.0
        count_server(cost, params, calls, round(each * chain.queries / BYTES_A_TOKEN))
    cost.rows = round(examples * grown)
    cost.disk_bytes = int(_size(chain, f"export-*{ending}", ending) * grown)
    held = min(int(chosen * grown * mean), at_once)
    cost.memory_bytes = (peak_memory() or 0) + held
    return cost


def _export_state(
    params: ExportParams, setup: export.Setup, out: Path, replacing: Replace
) -> State:
    plan = export.plan(
        params, setup, "all" if params.split is None or not setup.suffix else "train"
    )
    if setup.suffix is None:
        return artifacts.state_of(out, plan, replacing=replacing)
    return artifacts.state_of_file(out, plan, replacing=replacing)


def _size(chain: Chain, pattern: str, ending: str) -> int:
    """Bytes of the last trial's export, its held-out part included."""
    last = sorted(path for path in chain.folder.glob(pattern))[-1]
    if last.is_file():
        beside = export.held_out_file(last, ending)
        return last.stat().st_size + (beside.stat().st_size if beside.exists() else 0)
    return sum(path.stat().st_size for path in last.rglob("*") if path.is_file())
