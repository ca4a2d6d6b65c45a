"""What ``export --beir`` would cost."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

from negmine.addresses import located
from negmine.commands.estimate.chain import Chain, would_be_remade
from negmine.commands.estimate.cost import Cost, Watch, told
from negmine.commands.estimate.rehearsal import restricted
from negmine.memory import peak_memory
from negmine.params.export import ExportParams
from negmine.stages import export
from negmine.stages.export import beir
from negmine.stages.export.evaluation import Evaluation
from negmine.table import artifacts, writers
from negmine.table.artifacts.replace import Replace
from negmine.table.artifacts.state import State

#: Parts of the ledger that are counted.
_PARTS = 3


def add_evaluation(chain: Chain, cost: Cost, params: ExportParams, setup: export.Setup) -> None:
    """Count what the evaluation set takes: some parts of the ledger, and one of the corpus."""
    assert params.beir is not None
    out = located(params.beir)
    idle = cost.skipped or cost.target == out
    state = _state(chain, params, setup, out)
    if state.kind == "refused" or idle:
        cost.state = told(state)
    if state.kind == "made":
        return
    names = setup.source.parts[:_PARTS]
    source = restricted(setup.source, names)
    some = Evaluation(replace(params, limit=None), replace(setup, source=source))
    with Watch() as counting:
        survey = some.survey()
    grown = chain.rows / max(1, sum(source.rows(name) for name in names))
    corpus = chain.corpus_of(source)
    with Watch() as writing:
        trial = chain.trial("corpus.jsonl")
        tables = list(islice(beir.corpus(source, None), 1))
        writers.write_tables(trial, ".jsonl", tables, tables[0].schema)
    whole = params.beir_corpus == "whole"
    documents = chain.documents if whole else survey.counts["documents"] * grown
    share = min(documents, chain.documents) / tables[0].num_rows
    cost.documents, cost.queries = len(corpus), chain.queries
    # The parts are gone through once to count, and once for each of two files.
    cost.add("evaluation set", 3 * counting.seconds * grown + writing.seconds * share)
    cost.disk_bytes += int(trial.stat().st_size * share)
    cost.memory_bytes = max(cost.memory_bytes, peak_memory() or 0)


def _state(chain: Chain, params: ExportParams, setup: export.Setup, out: Path) -> State:
    if chain.real:
        plan = beir.plan(params, setup)
        return artifacts.state_of(out, plan, replacing=chain.replacing)
    if artifacts.is_begun(out) and chain.replacing is Replace.NOTHING:
        return State("refused", reason=would_be_remade(out))
    return State("start")
