"""The demo's last words: some triplets, and how many negatives two rules get wrong.

The demo mines with one known positive per query while three more lie hidden in the corpus, which
is what real training data looks like. Here the truth is known, so every negative can be checked::

    python scripts/show_demo.py work/demo work/verses/qrels.tsv
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq

SHOWN = 5
IDS = ("query-id", "corpus-id")
#: Which ledger a rule made.
RULES = {
    "relative margin to the positive (sentence-transformers)": "ledger-margin",
    "probability of relevance (negmine)": "ledger",
}
WIDTH = 100


def main() -> int:
    """Print the summary."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("work", type=Path, help="work folder of the demo")
    parser.add_argument("truth", type=Path, help="complete judgements (qrels.tsv)")
    arguments = parser.parse_args()

    truth = judged(arguments.truth)
    path = arguments.work / "train.parquet"
    train = pq.read_table(path)
    step = max(1, train.num_rows // SHOWN)
    for row in train.take(list(range(0, train.num_rows, step))[:SHOWN]).to_pylist():
        positive_score, negative_score = row["scores"]
        print(f"query     {short(row['anchor'])}")
        print(f"positive  {short(row['positive'])}  [{row['positive_docid']} {positive_score:.2f}]")
        print(f"negative  {short(row['negative'])}  [{row['negative_docid']} {negative_score:.2f}]")
        print()
    print(f"Training file: {path} ({train.num_rows} triplets)")
    print()
    print("\n".join(compared(arguments.work, truth)))
    return 0


def judged(qrels: Path) -> set[tuple[str, str]]:
    """(query, document) of every judgement."""
    table = csv.read_csv(
        qrels,
        parse_options=csv.ParseOptions(delimiter="\t"),
        convert_options=csv.ConvertOptions(column_types=dict.fromkeys(IDS, pa.string())),
    )
    return set(zip(*(table.column(name).to_pylist() for name in IDS), strict=True))


def compared(work: Path, truth: set[tuple[str, str]]) -> list[str]:
    """Both rules on the same scores, and how to change one number."""
    lines = [
        "Same candidates, same scores; one of four positives is known, the others hide among them:",
        "",
        f"{'rule':55}  {'chosen':>6}  false negatives",
    ]
    for name, folder in RULES.items():
        false, chosen = counted(work / folder, truth)
        rate = 100 * false / max(1, chosen)
        lines.append(f"{name:55}  {chosen:6}  {false} of {chosen} ({rate:.1f}%)")
    recipe = f"negmine run configs/demo.toml -o {work}"
    return [
        *lines,
        "",
        "Change one number; what was encoded and scored stays, and both ledgers are kept:",
        f"  {recipe} --set filter.max-score=0.2 --tag looser",
        f"  negmine report {work}/ledger {work}/ledger-looser -o {work}/compared.html",
        f"The page of this run: {work}/report.html",
    ]


def counted(ledger: Path, truth: set[tuple[str, str]]) -> tuple[int, int]:
    """How many of the chosen negatives are positives, and how many are chosen."""
    rows = pq.read_table(ledger, columns=["qid", "docid", "selected"]).to_pylist()
    chosen = [(row["qid"], row["docid"]) for row in rows if row["selected"] is not None]
    return sum(pair in truth for pair in chosen), len(chosen)


def short(text: str) -> str:
    """The text on one line of bounded width."""
    line = " ".join(text.split())
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"


if __name__ == "__main__":
    sys.exit(main())
