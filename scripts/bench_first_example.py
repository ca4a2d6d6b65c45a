"""From a command to the first training examples: ``negmine run`` against ``mine_hard_negatives``.

Few pairs, one encoder, no cross-encoder: most of it is what any run pays, imports and loading the
model; with the encoder in what ``auto`` takes, and in int8. Each side is a fresh process, in turns,
with the same pairs and model, and ends with a Parquet file of triplets. negmine keeps its text
guard and its ledger, which the peer has not. CPU seconds, of one thread each with
``OMP_NUM_THREADS=1``, compare the sides on a busy machine, too::

    python scripts/bench_first_example.py DATA/medquad --out FOLDER
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import _bench
import bench_chain
from bench_select import depths

PEER = "mine_hard_negatives"
#: What is asked of the encoder, by side.
SIDES = {"negmine run": "auto", "negmine run, --dtype int8": "int8"}


def main() -> int:
    """Run both sides in turns and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path, help="folder in BEIR layout")
    parser.add_argument("--out", type=Path, required=True, help="new work folder")
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--model", default=_bench.MINILM)
    parser.add_argument("--num-negatives", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.out.exists():
        parser.error(f"{options.out} exists; a benchmark needs a fresh folder")
    options.out.mkdir(parents=True)
    work, file = options.out, options.out / "pairs.jsonl"
    _bench.write_pairs(_bench.pairs(options.data)[: options.pairs], file)
    depth = depths(file, options.num_negatives)[1]
    written = bench_chain.recipe(file, depth, options, guard=True)
    for number, dtype in enumerate(SIDES.values()):
        asked = written.replace("[index]", f'[index]\ndtype = "{dtype}"')
        (work / f"recipe-{number}.toml").write_text(asked)
    # The peer reads the folder; which model it is has been settled.
    model = _bench.model_folder(options.model)
    peer = [str(options.data), "--out", str(work), "--model", model]
    peer += ["--num-negatives", str(options.num_negatives)]
    ran: dict[str, list[dict[str, float]]] = {side: [] for side in (PEER, *SIDES)}
    for turn in range(options.rounds + 1):
        theirs = _bench.worker(bench_chain.__file__, "peer", *peer)
        found = {PEER: {"seconds": theirs["wall"], "cpu": theirs["cpu"]}}
        for number, side in enumerate(SIDES):
            shutil.rmtree(work / "run", ignore_errors=True)
            recipe = f"{work}/recipe-{number}.toml"
            own = _bench.negmine("run", recipe, "-o", f"{work}/run", "--quiet")
            found[side] = {"seconds": own.seconds, "cpu": own.cpu_seconds}
        # The first turn fills the file cache.
        if turn or not options.rounds:
            for side, one in found.items():
                ran[side].append(one)
    print(_bench.machine("sentence-transformers", "torch", "openvino", "pyarrow") + "\n")
    print(f"{options.pairs:,} pairs of {options.data.name}\n")
    head = ("side", "seconds (least to most)", "of the peer's", "CPU seconds", "of the peer's")
    print(_bench.table(head, [_row(side, ran[side], ran[PEER]) for side in ran]))
    return 0


def _row(
    side: str, found: list[dict[str, float]], peer: list[dict[str, float]]
) -> tuple[str, str, str, str, str]:
    """A side's medians, and what share of the peer's they are."""
    seconds, cpu = (_bench.median(found, key) for key in ("seconds", "cpu"))
    return (
        side,
        f"{seconds:.1f} ({_bench.spread(found)})",
        f"{seconds / _bench.median(peer):.2f}",
        f"{cpu:.1f}",
        f"{cpu / _bench.median(peer, 'cpu'):.2f}",
    )


if __name__ == "__main__":
    sys.exit(main())
