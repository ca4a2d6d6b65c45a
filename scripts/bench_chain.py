"""The whole chain, dense only: ``negmine run`` against ``mine_hard_negatives``.

Both start from the same pairs and the same model, search as deep, drop by the same margin and end
with a Parquet file of triplets; the triplets are compared. Each is a whole process, imports and
model loading included. negmine also runs as its four commands, each of which imports and loads
anew. It does so without its text guard for equal work, and once more from its filter on with it.
What sentence-transformers spends on encoding is told, for that is most::

    python scripts/make_verses.py DATA/verses --verses 2000 --corpus-verses 2000
    python scripts/bench_chain.py DATA/verses --out FOLDER
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import _bench
from bench_select import MARGIN, NO_GUARD, depths, same


def main() -> int:
    """Run both sides and print the table; or be the peer."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path, help="folder in BEIR layout")
    parser.add_argument("--out", type=Path, required=True, help="new work folder")
    parser.add_argument("--queries", type=int, help="only so many, at even distances")
    parser.add_argument("--model", default=_bench.MINILM)
    parser.add_argument("--num-negatives", type=int, default=4)
    parser.add_argument("--run-only", action="store_true", help="leave the four commands out")
    parser.add_argument("--worker", choices=("peer",), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        _peer(options)
        return 0
    if options.out.exists():
        parser.error(f"{options.out} exists; a benchmark needs a fresh folder")
    options.out.mkdir(parents=True)
    work, file = options.out, options.out / "pairs.jsonl"
    _bench.write_pairs(_bench.pairs(options.data, options.queries), file)
    peer = _bench.worker(__file__, "peer", *sys.argv[1:])
    depth = depths(file, options.num_negatives)[1]
    (work / "recipe.toml").write_text(recipe(file, depth, options))
    given = ("-c", f"{work}/recipe.toml")
    commands = {
        "index": ("-o", f"{work}/index"),
        "retrieve": (f"{work}/index", "-o", f"{work}/candidates"),
        "filter": (f"{work}/candidates", "-o", f"{work}/ledger"),
        "export": (f"{work}/ledger", "-o", f"{work}/plain.parquet"),
    }
    if options.run_only:
        commands = {}
    ran = {name: _bench.negmine(name, *given, *rest) for name, rest in commands.items()}
    whole = _bench.negmine("run", f"{work}/recipe.toml", "-o", f"{work}/run", "--quiet")
    guard = _bench.negmine(
        *("filter", f"{work}/run/candidates", "--by", "dense", "--relative-margin", str(MARGIN)),
        *("--num-negatives", str(options.num_negatives), "-o", f"{work}/guarded", "--quiet"),
    )
    if options.run_only:
        (work / "plain.parquet").hardlink_to(work / "run" / "train.parquet")
    print(_bench.machine("sentence-transformers", "datasets", "torch", "openvino", "pyarrow"))
    print(
        f"{peer['pairs']:,} pairs, {peer['texts']:,} texts encoded by both, "
        f"{peer['triplets']:,} triplets; {same(work):.3%} of the triplets the same\n"
    )
    total = sum(one.seconds for one in ran.values())
    rows = [
        ("mine_hard_negatives", f"{peer['wall']:.1f}", f"{peer['cpu']:.1f}", f"{peer['peak']:.0f}"),
        ("- of it encoding", f"{peer['encoding']:.1f}", "", ""),
        ("- of it imports and loading the model", f"{peer['loading']:.1f}", "", ""),
        (
            "negmine run",
            f"{whole.seconds:.1f}",
            f"{whole.cpu_seconds:.1f}",
            f"{_peak(work / 'run', whole):.0f}",
        ),
        *(
            [
                (
                    "negmine, four commands",
                    f"{total:.1f}",
                    f"{sum(one.cpu_seconds for one in ran.values()):.1f}",
                    f"{max(one.peak for one in ran.values()):.0f}",
                )
            ]
            if ran
            else []
        ),
        *(
            (f"- {name}", f"{one.seconds:.1f}", f"{one.cpu_seconds:.1f}", f"{one.peak:.0f}")
            for name, one in ran.items()
        ),
        (
            "(filter with the default guard)",
            f"{guard.seconds:.1f}",
            f"{guard.cpu_seconds:.1f}",
            f"{guard.peak:.0f}",
        ),
    ]
    print(_bench.table(("what", "seconds", "CPU seconds", "peak MiB"), rows))
    told = f"\nnegmine run: {peer['wall'] / whole.seconds:.2f} times the peer"
    print(told + (f"; four commands: {peer['wall'] / total:.2f} times" if ran else ""))
    return 0


def _peak(folder: Path, ran: _bench.Ran) -> float:
    """MiB of a run of several stages, each of which sets the process's own account to nothing."""
    told = [json.loads(file.read_text()) for file in folder.rglob("*manifest.json")]
    stages = [one.get("run", {}).get("peak_rss_bytes", 0) / (1 << 20) for one in told]
    return max([ran.peak, *stages])


def recipe(file: Path, depth: int, options: argparse.Namespace, guard: bool = False) -> str:
    """What the peer does, in TOML; the guard's rules are off unless asked for."""
    settings = {} if guard else NO_GUARD
    off = "\n".join(f"{k.replace('_', '-')} = {json.dumps(v)}" for k, v in settings.items())
    return f"""
[index]
pairs = "{file}"
bm25 = false
encoder = {{ dense = "{options.model}" }}

[retrieve]
pairs = "{file}"
k = {depth}

[filter]
by = "dense"
relative-margin = {MARGIN}
num-negatives = {options.num_negatives}
{off}

[export]
format = "triplet"
"""


def _peer(options: argparse.Namespace) -> None:
    """``mine_hard_negatives`` as shipped, and its triplets as Parquet."""
    started = time.perf_counter()
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    model = SentenceTransformer(_bench.model_folder(options.model), device="cpu")
    loading = time.perf_counter() - started
    encoding = [0.0, 0]

    def timed(encode: Any) -> Any:
        def call(texts: list[str], **settings: Any) -> Any:
            begun = time.perf_counter()
            found = encode(texts, **settings)
            encoding[0] += time.perf_counter() - begun
            encoding[1] += len(texts)
            return found

        return call

    model.encode_document = timed(model.encode_document)
    model.encode_query = timed(model.encode_query)
    rows = list(_bench.records(options.out / "pairs.jsonl"))
    range_max, _ = depths(options.out / "pairs.jsonl", options.num_negatives)
    mined = mine_hard_negatives(
        Dataset.from_list(rows),
        model,
        relative_margin=MARGIN,
        num_negatives=options.num_negatives,
        range_max=range_max,
        use_faiss=True,
        output_format="triplet",
        verbose=False,
    )
    mined.to_parquet(str(options.out / "peer.parquet"))
    _bench.tell(
        pairs=len(rows),
        triplets=len(mined),
        loading=loading,
        encoding=encoding[0],
        texts=int(encoding[1]),
    )


if __name__ == "__main__":
    sys.exit(main())
