"""The demo's last words: some triplets, and how many negatives are false.

The demo mines with one known positive per query while three more lie hidden in the corpus, which
is what real training data looks like. Here the truth is known, so every negative can be checked::

    python scripts/show_demo.py work/demo work/verses/qrels.tsv
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pyarrow.csv as csv
import pyarrow.parquet as pq

SHOWN = 5
WIDTH = 100


def main() -> int:
    """Print the summary."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("work", type=Path, help="work folder of the demo")
    parser.add_argument("truth", type=Path, help="complete judgements (qrels.tsv)")
    arguments = parser.parse_args()

    qrels = csv.read_csv(arguments.truth, parse_options=csv.ParseOptions(delimiter="\t"))
    truth = set(
        zip(
            qrels.column("query-id").to_pylist(), qrels.column("corpus-id").to_pylist(), strict=True
        )
    )
    ledger = pq.read_table(
        arguments.work / "ledger", columns=["qid", "docid", "label", "rank_minilm", "selected"]
    ).to_pylist()
    candidates = [row for row in ledger if row["label"] == 0]
    hidden = [row for row in candidates if (row["qid"], row["docid"]) in truth]
    chosen = [row for row in candidates if row["selected"] is not None]
    false = [row for row in chosen if (row["qid"], row["docid"]) in truth]
    naive = [row for row in candidates if row["rank_minilm"] is not None]
    naive.sort(key=lambda row: (row["qid"], row["rank_minilm"]))
    per_query: dict[str, list[dict[str, object]]] = {}
    for row in naive:
        per_query.setdefault(row["qid"], []).append(row)
    count = max(row["selected"] for row in chosen)
    top = [row for rows in per_query.values() for row in rows[:count]]
    top_false = [row for row in top if (row["qid"], row["docid"]) in truth]

    path = arguments.work / "train.parquet"
    train = pq.read_table(path)
    step = max(1, train.num_rows // SHOWN)
    for row in train.take(list(range(0, train.num_rows, step))[:SHOWN]).to_pylist():
        positive_score, negative_score = row["scores"]
        print(f"query     {short(row['anchor'])}")
        print(f"positive  {short(row['positive'])}  [{row['positive_docid']} {positive_score:.2f}]")
        print(f"negative  {short(row['negative'])}  [{row['negative_docid']} {negative_score:.2f}]")
        print()
    queries = len({row["qid"] for row in candidates})
    print(
        f"{queries} queries, one positive revealed each, {len(hidden)} hidden among their "
        f"{len(candidates)} candidates."
    )
    print(
        f"False negatives: {len(false)} of the {len(chosen)} chosen ({share(false, chosen)}); "
        f"plain top {count} by minilm would have {len(top_false)} of {len(top)} "
        f"({share(top_false, top)})."
    )
    print(f"Training file: {path} ({train.num_rows} triplets)")
    return 0


def share(part: list[dict[str, object]], whole: list[dict[str, object]]) -> str:
    """A percentage."""
    return f"{100 * len(part) / max(1, len(whole)):.1f}%"


def short(text: str) -> str:
    """The text on one line of bounded width."""
    line = " ".join(text.split())
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"


if __name__ == "__main__":
    sys.exit(main())
