"""What ``filter`` would cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from negmine import memory
from negmine.commands.estimate.chain import Chain, known_to_be_made, twice
from negmine.commands.estimate.cost import Cost, Watch
from negmine.commands.estimate.rehearsal import restricted, spread, written
from negmine.dedup import minhash, signatures
from negmine.memory import peak_memory, reset_peak_memory
from negmine.params.filter import FilterParams
from negmine.stages import filter as filtering
from negmine.stages.filter.guard import Guard, compares_texts
from negmine.table import artifacts
from negmine.table.artifacts.reading import Artifact
from negmine.table.documents import Documents, full_text


def cost_of_filter(chain: Chain, params: FilterParams, out: Path) -> Cost:
    """Filter one part, then two."""
    assert chain.table is not None
    cost = Cost("filter", out, guesses=list(chain.guesses))
    reset_peak_memory()
    setup = filtering.set_up(params, chain.table)
    plan = (lambda: filtering.plan(setup, out)) if chain.real else None
    if known_to_be_made(chain, cost, out, plan, ["filter"]):
        return cost
    documents = chain.corpus_of(setup.source)
    budget = memory.budget(params.memory)

    def judged(number: int, names: list[str]) -> Artifact:
        some = replace(setup, source=restricted(setup.source, names))
        writer = artifacts.begin(chain.trial(f"ledger-{number}"), filtering.plan(some, out))
        assert writer is not None
        with writer:
            counts, _ = filtering.judge_all(
                some, Guard(some.params, some.source, budget.shingles), writer
            )
            return writer.commit(counts)

    made, seconds = twice(setup.source, judged)
    mined = sum(made.rows(name) for name in made.parts)
    cost.add("rules", seconds(chain.rows))
    cost.units = max(1, round(chain.rows / max(1, mined) * len(made.parts)))
    corpus_bytes = int(documents.artifact.counts["text_bytes"])
    if compares_texts(setup.params) and signatures.stored(documents.artifact) is None:
        # The first part's time holds the description of the whole corpus, where that is small.
        more = chain.documents - len(documents)
        if signatures.describes_whole(chain.text_bytes, chain.documents):
            cost.add("texts", _described(documents) * more)
        elif signatures.describes_whole(corpus_bytes, len(documents)):
            each = _described(documents)
            at_most = min(chain.rows, chain.documents)
            cost.add("texts", each * (at_most - len(documents)))
            cost.guesses.append("texts: every candidate's is described once")
    cost.documents, cost.queries, cost.rows = chain.documents, chain.queries, chain.rows
    cost.disk_bytes = int(written(made) * chain.rows / max(1, mined))
    cost.memory_bytes = peak_memory() or 0
    if not chain.real:
        cost.guesses.append("what is dropped: the scores of the trial are random")
    chain.table, chain.real = made.path, False
    return cost


def _described(documents: Documents) -> float:
    """Seconds to describe one document's text."""
    batches = list(spread(documents, 400))
    texts = pa.concat_arrays([full_text(batch).cast(pa.large_string()) for batch in batches])
    with Watch() as watch:
        minhash.describe(texts)
    return watch.seconds / max(1, len(texts))
