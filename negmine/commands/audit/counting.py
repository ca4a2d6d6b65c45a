"""What became of the hidden positives, and how hard the negatives are."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.commands.audit import intervals as estimates
from negmine.commands.audit import relabelled
from negmine.commands.audit.hiding import Hidden, keys_of
from negmine.commands.audit.relabelled import Relabelled
from negmine.commands.audit.settings import as_number
from negmine.errors import UsageError
from negmine.params.filter import FilterParams
from negmine.rules import labels
from negmine.stages import filter as filtering
from negmine.table import artifacts
from negmine.table.names import rank_column, score_column
from negmine.table.part import Part

_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True)
class Settings:
    """What is read of the filter's settings, as its ledger records them."""

    asked: int
    against: str
    relabels: bool = False


# --- counting ---------------------------------------------------------------------------------


class Tally:
    """Counts of one setting under one scheme, per query, added up over runs.

    Args:
        queries: how many there are.
        sources: those whose ranks tell hardness.
        found_by: all sources: who found what was chosen.
    """

    def __init__(self, queries: int, sources: Sequence[str], found_by: Sequence[str]) -> None:
        names = ("runs", "pool", "survived", "chosen", "false", "short", "none", "free")
        self.count = {name: np.zeros(queries, dtype=np.int64) for name in names}
        self.repeats = 0
        self.relabelled: Relabelled | None = None
        self.dropped: Counter[tuple[str, bool]] = Counter()
        self.query: list[np.ndarray] = []
        self.rank: dict[str, list[np.ndarray]] = {name: [] for name in sources}
        self.margin: list[np.ndarray] = []
        self.false: list[np.ndarray] = []
        self.found_by: dict[str, list[np.ndarray]] = {name: [] for name in found_by}

    def add(
        self,
        ledger: pa.Table,
        hidden: Hidden,
        number: np.ndarray,
        audited: np.ndarray,
        settings: Settings,
        teacher: str,
    ) -> None:
        """Count one part.

        Args:
            ledger: what the filter wrote.
            hidden: what was hidden in it.
            number: number of each row's query.
            audited: numbers of the queries that had a positive hidden.
            settings: negatives asked for per query, and which positive counts.
            teacher: the score in which hardness is told.
        """
        size = len(self.count["runs"])
        wanted = np.zeros(size, dtype=bool)
        wanted[audited] = True
        mine = wanted[number]
        false = pc.is_in(keys_of(ledger), value_set=hidden.pairs).to_numpy(zero_copy_only=False)
        survived = ledger.column("dropped_by").is_null().to_numpy()
        chosen = ledger.column("selected").is_valid().to_numpy()

        def per_query(mask: np.ndarray) -> np.ndarray:
            return np.bincount(number[mask & mine], minlength=size)

        chosen_here = per_query(chosen)
        self.count["runs"][audited] += 1
        self.count["pool"] += per_query(false)
        self.count["survived"] += per_query(false & survived)
        self.count["free"] += per_query(survived)
        self.count["chosen"] += chosen_here
        self.count["false"] += per_query(chosen & false)
        self.count["short"] += wanted & (chosen_here < settings.asked)
        self.count["none"] += wanted & (chosen_here == 0)
        if settings.relabels:
            self.relabelled = self.relabelled or Relabelled(size)
            self.relabelled.add(ledger, false, number, mine)
        reasons = ledger.column("dropped_by").filter(pa.array(mine))
        for reason, is_false in zip(reasons.to_pylist(), false[mine].tolist(), strict=True):
            if reason is not None:
                self.dropped[reason, is_false] += 1

        taken = chosen & mine
        self.query.append(number[taken])
        for name, found in self.rank.items():
            rank = ledger.column(rank_column(name)).to_numpy().astype(np.float64)
            found.append(np.where(np.isnan(rank), np.inf, rank)[taken])
        self.false.append(false[taken])
        for name, found in self.found_by.items():
            found.append(ledger.column(rank_column(name)).is_valid().to_numpy()[taken])
        part = Part(ledger).relabelled(labels.compared_in(ledger))
        score = part.score(teacher)
        self.margin.append((score - part.positive_score(score, settings.against))[taken])

    def result(self) -> dict[str, Any]:
        """Rates with intervals."""
        count = self.count
        query = np.concatenate(self.query)
        margin = np.concatenate(self.margin)
        told = ~np.isnan(margin)
        ranks = {}
        for name, found in self.rank.items():
            rank = np.concatenate(found)
            ranks[name] = {
                **_spread(rank, query),
                "unranked": as_number(float(np.isinf(rank).mean())) if len(rank) else None,
            }
        reasons = sorted({reason for reason, _ in self.dropped})
        return {
            "pool": int(count["pool"].sum()),
            "chosen": int(count["chosen"].sum()),
            "false": int(count["false"].sum()),
            "survival": estimates.share(count["survived"], count["pool"], self.repeats).as_json(),
            "contamination": estimates.share(
                count["false"], count["chosen"], self.repeats
            ).as_json(),
            "negatives_per_query": estimates.mean(count["chosen"], count["runs"]).as_json(),
            "survivors_per_query": estimates.mean(count["free"], count["runs"]).as_json(),
            "short_queries": estimates.share(count["short"], count["runs"], self.repeats).as_json(),
            "queries_with_none": estimates.share(
                count["none"], count["runs"], self.repeats
            ).as_json(),
            "rank": ranks,
            "margin": _spread(margin[told], query[told]),
            "by_source": self._by_source(query, margin),
            "dropped": {
                reason: {
                    "hidden_positives": self.dropped[reason, True],
                    "others": self.dropped[reason, False],
                }
                for reason in reasons
            },
            **(
                {}
                if self.relabelled is None
                else {"relabelled": self.relabelled.result(self.repeats)}
            ),
        }

    def _by_source(self, query: np.ndarray, margin: np.ndarray) -> dict[str, Any]:
        """Per source what was chosen of what it found; a row that several found counts for each."""
        size = len(self.count["runs"])
        false = np.concatenate(self.false)
        found = {name: np.concatenate(masks) for name, masks in self.found_by.items()}
        times = np.sum(list(found.values()), axis=0) if found else np.empty(0)

        def per_query(mask: np.ndarray) -> np.ndarray:
            return np.bincount(query[mask], minlength=size)

        told = {}
        for name, mine in found.items():
            hits, total = per_query(mine & false), per_query(mine)
            known = mine & ~np.isnan(margin)
            told[name] = {
                "chosen": int(mine.sum()),
                "alone": int((mine & (times == 1)).sum()),
                "false": int((mine & false).sum()),
                "contamination": estimates.share(hits, total, self.repeats).as_json(),
                "margin": _spread(margin[known], query[known]),
            }
        return told


def _spread(values: np.ndarray, query: np.ndarray) -> dict[str, Any]:
    """Quantiles and the median's interval; null where they are beyond what is known."""
    middle = estimates.median(values, query)
    found = estimates.quantiles(values, _QUANTILES)
    return {
        **{f"p{round(100 * q)}": as_number(v) for q, v in zip(_QUANTILES, found, strict=True)},
        "p50_low": as_number(middle.low),
        "p50_high": as_number(middle.high),
    }


def try_setting(
    params: FilterParams,
    scored: Path,
    hidden: dict[str, Hidden],
    qids: pa.Array,
    tally: Tally,
    teacher: str,
    seed: int,
) -> None:
    """Filter the table with hidden labels and count what became of them."""
    with tempfile.TemporaryDirectory(prefix="negmine-audit-") as folder:
        out = Path(folder) / "ledger"
        # Each run samples anew, so that the interval covers the sampler's luck too.
        filtering.run(replace(params, seed=params.seed + seed), scored, out, advise=False)
        ledger = artifacts.open_artifact(out)
        columns = ["qid", "docid", "label", "dropped_by", "selected", score_column(teacher)]
        columns += [c for c in map(rank_column, tally.found_by) if c not in columns]
        # Where quotas are given they decide how many negatives are asked for.
        settings = Settings(
            int(ledger.params["num_negatives"]), params.against, relabelled.asked(params)
        )
        tally.repeats += 1
        for name, part_hidden in hidden.items():
            part = ledger.read(name, columns)
            audited = pc.index_in(part_hidden.qids, value_set=qids).to_numpy()
            number = pc.index_in(part.column("qid"), value_set=qids).to_numpy()
            _refuse_unmeasurable(part, part_hidden)
            tally.add(part, part_hidden, number, audited, settings, teacher)


def _refuse_unmeasurable(part: pa.Table, hidden: Hidden) -> None:
    """A rule that compares with the query's positive says nothing about a query without one."""
    pairs = pc.is_in(keys_of(part), value_set=hidden.pairs)
    reasons = part.column("dropped_by").filter(pairs)
    if pc.any(pc.equal(reasons, "no_positive_score")).as_py():
        raise UsageError(
            "the rules compare with the query's own positive, and its only one is hidden",
            hint="Such rules need queries with two or more known positives to be measured. With "
            "single positives audit rules on the score itself (--max-score, --max-fn-rate).",
        )
