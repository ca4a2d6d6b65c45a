"""A smaller collection in BEIR's layout: queries with several positives, and fewer documents.

``audit`` and ``bench_denoise.py`` learn nothing from a query with one positive, and a CPU scores
few pairs a second::

    python scripts/slice_collection.py DATA/medquad OUT --queries 60 --documents 3000

The queries are at even distances among those with at least ``--positives`` positives (grade 1 or
above) in the corpus; all judged documents of theirs are kept, the others are drawn at random.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any


def main() -> None:
    """Write the slice."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="corpus.jsonl, queries.jsonl and qrels.tsv")
    parser.add_argument("out", type=Path)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--positives", type=int, default=2, help="fewest positives of a query")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    corpus, queries = (read(given.folder / f"{name}.jsonl") for name in ("corpus", "queries"))
    header, *judged = (given.folder / "qrels.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in judged]
    rows = [row for row in rows if row[1] in corpus]
    positives = Counter(row[0] for row in rows if int(row[2]) > 0)
    several = [qid for qid in queries if positives[qid] >= given.positives]
    count = min(given.queries, len(several))
    kept = [several[at * len(several) // count] for at in range(count)]
    rows = [row for row in rows if row[0] in set(kept)]
    needed = {row[1] for row in rows}
    others = [docid for docid in corpus if docid not in needed]
    wanted = max(0, given.documents - len(needed))
    random.Random(given.seed).shuffle(others)
    chosen = needed.union(others[:wanted])

    given.out.mkdir(parents=True, exist_ok=True)
    write(given.out / "corpus.jsonl", [corpus[docid] for docid in corpus if docid in chosen])
    write(given.out / "queries.jsonl", [queries[qid] for qid in kept])
    lines = [header, *("\t".join(row) for row in rows)]
    (given.out / "qrels.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(kept)} of {len(several)} queries, {len(chosen)} of {len(corpus)} documents")


def read(path: Path) -> dict[str, dict[str, Any]]:
    """Records by id."""
    with path.open(encoding="utf-8") as lines:
        return {row["_id"]: row for row in map(json.loads, lines)}


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Records as JSON lines."""
    with path.open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


if __name__ == "__main__":
    main()
