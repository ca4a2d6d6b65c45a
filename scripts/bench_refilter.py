"""Seconds of filtering a scored table of a million rows anew, no model loaded.

The table is made up, so that nothing is needed but negmine: ``--documents`` texts of 60 words
(drawn by Zipf's law; one in fifty is another's near-duplicate), ``--rows`` / 100 queries of two
positives, and two "engines" (TREC runs) that found the same hundred documents per query::

    python scripts/bench_refilter.py FOLDER

The stages make index and candidates in FOLDER once. Then ``negmine filter`` runs as a process of
its own per setting, imports included, and the table of seconds, CPU seconds and peak memory is
printed as Markdown. ``--profile SETTING`` runs one setting in this process under cProfile instead.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

GUARD_OFF = [
    "--no-same-text",
    "--no-query-text",
    "--no-near-duplicates",
    "--no-repeated-texts",
    "--no-empty-texts",
    *("--own-document", "off"),
    "--no-duplicate-queries",
]
_RULE = ["--by", "ce", "--relative-margin", "0.05"]
SETTINGS = {
    "relative-margin=0.05, no guard": [*_RULE, *GUARD_OFF],
    "relative-margin=0.05, default guard": _RULE,
    "max-fn-rate=0.1, sampler=rank, default guard": [
        *("--by", "ce", "--max-fn-rate", "0.1", "--sampler", "rank", "--rank-by", "dense")
    ],
    "configs/default.toml's rules": [
        *("--by", "p_relevant", "--max-score", "0.035", "--max-fn-rate", "0.25"),
        *("--sampler", "rank", "--rank-by", "dense"),
    ],
}
_HEAVY = ("torch", "onnxruntime", "transformers", "sentence_transformers", "jnius")
_PER_QUERY = 100
_WORDS = 60
_VOCABULARY = 50_000
_QUERIES_AT_ONCE = 1000


def main() -> int:
    """Make the table, then time the settings."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--without-signatures", action="store_true", help="time an older index")
    parser.add_argument("--only", choices=SETTINGS, action="append")
    parser.add_argument("--profile", choices=SETTINGS)
    given = parser.parse_args()
    make(given.folder, given.rows // _PER_QUERY, given.documents)
    if given.profile:
        profile(given.folder, SETTINGS[given.profile])
        return 0
    scored = given.folder / "scored"
    counts = json.loads((scored / "_manifest.json").read_text())["counts"]
    manifest = json.loads((given.folder / "index/signatures/_manifest.json").read_text())
    print(f"{counts['candidates']:,} rows, {given.documents:,} documents")
    print(f"index/signatures was made in {manifest['run']['seconds']} s\n")
    print("| filter | seconds | CPU seconds | peak MiB |\n|---|---|---|---|")
    signatures, aside = given.folder / "index" / "signatures", given.folder / "aside"
    try:
        if given.without_signatures:
            signatures.rename(aside)
        for name in given.only or SETTINGS:
            seconds, cpu, peak = measured(given.folder, SETTINGS[name])
            print(f"| {name} | {seconds:.1f} | {cpu:.1f} | {peak:.0f} |")
    finally:
        if aside.exists():
            aside.rename(signatures)
    return 0


def make(folder: Path, queries: int, documents: int) -> None:
    """The collection, its index and its candidates; what is there is kept."""
    if (folder / "scored" / "_manifest.json").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    words = np.array([f"w{number}" for number in range(_VOCABULARY)])

    def texts(count: int, length: int) -> list[str]:
        drawn = words[np.minimum(rng.zipf(1.2, size=(count, length)), _VOCABULARY) - 1]
        return [" ".join(row) for row in drawn]

    made = texts(documents, _WORDS)
    for number in range(0, documents - 1, 50):
        made[number + 1] = made[number] + " again"
    with (folder / "corpus.jsonl").open("w") as out:
        for number, text in enumerate(made):
            out.write(json.dumps({"_id": f"document-{number}", "title": "", "text": text}) + "\n")
    with (folder / "queries.jsonl").open("w") as out:
        for number, text in enumerate(texts(queries, 8)):
            out.write(json.dumps({"_id": f"query-{number}", "text": text}) + "\n")
    with (
        (folder / "qrels.tsv").open("w") as qrels,
        (folder / "dense.run").open("w") as dense,
        (folder / "ce.run").open("w") as ce,
    ):
        qrels.write("query-id\tcorpus-id\tscore\n")
        for first in range(0, queries, _QUERIES_AT_ONCE):
            shape = (min(_QUERIES_AT_ONCE, queries - first), _PER_QUERY)
            near = rng.normal(size=shape)
            score = near + rng.normal(size=shape)
            for query in range(shape[0]):
                qid = f"query-{first + query}"
                found = rng.choice(documents, _PER_QUERY, replace=False)
                for at in np.argsort(-score[query])[:2]:
                    qrels.write(f"{qid}\tdocument-{found[at]}\t1\n")
                for scores, out in ((near, dense), (score, ce)):
                    for rank, at in enumerate(np.argsort(-scores[query]), 1):
                        out.write(
                            f"{qid} Q0 document-{found[at]} {rank} {scores[query, at]:.5f} made\n"
                        )
    run = [sys.executable, "-m", "negmine"]
    corpus = ["--corpus", str(folder / "corpus.jsonl"), "--no-bm25"]
    subprocess.run([*run, "index", *corpus, "-o", str(folder / "index"), "-q"], check=True)
    subprocess.run(
        [
            *(*run, "retrieve", str(folder / "index"), "-q", "-o", str(folder / "scored")),
            *("--queries", str(folder / "queries.jsonl"), "--qrels", str(folder / "qrels.tsv")),
            *("--source", "dense", "--source", "ce", "-k", str(_PER_QUERY)),
            *("--run", f"dense={folder}/dense.run", "--run", f"ce={folder}/ce.run"),
        ],
        check=True,
    )


def measured(folder: Path, options: list[str]) -> tuple[float, float, float]:
    """(seconds, CPU seconds, peak MiB) of one ``negmine filter``.

    Raises:
        SystemExit: it failed, or loaded what it should not.
    """
    out = folder / "ledger"
    shutil.rmtree(out, ignore_errors=True)
    code = (
        "import sys\n"
        "from negmine.cli import main\n"
        "try:\n    main()\n"
        "finally:\n"
        f"    loaded = sorted(set({_HEAVY!r}) & sys.modules.keys())\n"
        "    sys.exit(f'loaded {loaded}') if loaded else None\n"
    )
    command = [sys.executable, "-c", code, "filter", str(folder / "scored"), "-q", *options]
    started = time.perf_counter()
    process = subprocess.Popen([*command, "-o", str(out)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        raise SystemExit(f"negmine filter {' '.join(options)} failed")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def profile(folder: Path, options: list[str]) -> None:
    """Where one setting's time goes, on stdout."""
    import cProfile
    import pstats

    from negmine.cli import main as negmine

    sys.argv = ["negmine", "filter", str(folder / "scored"), "-q", *options]
    sys.argv += ["-o", str(folder / "ledger"), "--rebuild"]
    profiler = cProfile.Profile()
    profiler.enable()
    try:
        negmine()
    except SystemExit:
        pass
    finally:
        profiler.disable()
    pstats.Stats(profiler).sort_stats("tottime").print_stats(45)


if __name__ == "__main__":
    sys.exit(main())
