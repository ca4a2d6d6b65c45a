"""What ``filter`` would cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from negmine import memory
from negmine.commands.estimate.chain import Chain, known_to_be_made, twice
from negmine.commands.estimate.cost import Cost, Watch
from negmine.commands.estimate.rehearsal import restricted, spread, written
from negmine.commands.estimate.several import OF_ALL
from negmine.dedup import minhash, signatures
from negmine.learning.summaries import Found, Item, Summaries, Summary
from negmine.memory import peak_memory, reset_peak_memory
from negmine.params.filter import FilterParams
from negmine.stages import filter as filtering
from negmine.stages.filter.guard import Guard, compares_texts
from negmine.stages.filter.options import wants_relevance
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
    learned: list[tuple[int, float]] = []

    def judged(number: int, names: list[str]) -> Artifact:
        some = replace(setup, source=restricted(setup.source, names))
        writer = artifacts.begin(chain.trial(f"ledger-{number}"), filtering.plan(some, out))
        assert writer is not None
        with writer:
            summaries = _Timed(some.source.parts)
            counts, _ = filtering.judge_all(
                some,
                Guard(some.params, some.source, budget.shingles),
                writer,
                summaries=summaries,
            )
            learned.append((sum(map(setup.source.rows, names)), summaries.seconds))
            return writer.commit(counts)

    made, seconds = twice(setup.source, judged)
    mined = sum(made.rows(name) for name in made.parts)
    # The last trial's: what the first one imports is no pace.
    of_all = learned[-1][1] * chain.rows / max(1, learned[-1][0])
    whole = seconds(chain.rows)
    cost.add(OF_ALL, min(whole, of_all))
    cost.add("rules", whole - of_all)
    if wants_relevance(setup.params):
        cost.guesses.append(f"{OF_ALL}: as if p_relevant drew no sample of many rows")
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


class _Timed(Summaries):
    """Goes over a table, and counts what all summaries take once they are there.

    Attributes:
        seconds: of what is found of the whole table, less those of the rounds.
    """

    seconds = 0.0
    _within = False

    def agreed(self, name: str, find: Callable[[], Found]) -> Found:
        """What is found of the whole table."""
        if self._within:
            return super().agreed(name, find)
        self._within = True
        with Watch() as watch:
            found = super().agreed(name, find)
        self._within = False
        self.seconds += watch.seconds
        return found

    def over(
        self,
        name: str,
        read: Callable[[Sequence[str]], Iterable[tuple[str, Item]]],
        summarise: Callable[[Item], Summary],
    ) -> list[Summary]:
        """A summary of every part, in order."""
        with Watch() as watch:
            found = super().over(name, read, summarise)
        if self._within:
            self.seconds -= watch.seconds
        return found


def _described(documents: Documents) -> float:
    """Seconds to describe one document's text."""
    batches = list(spread(documents, 400))
    texts = pa.concat_arrays([full_text(batch).cast(pa.large_string()) for batch in batches])
    with Watch() as watch:
        minhash.describe(texts)
    return watch.seconds / max(1, len(texts))
