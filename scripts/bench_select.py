"""Everything after search: negmine's filter and export against ``mine_hard_negatives``.

Both take the same pairs, the same vectors and the same number of candidates, drop by the same
margin, take the same number of negatives and give triplets with texts; the triplets are compared.
sentence-transformers' part is timed from inside: from the last thing before it (the positives'
scores) to the function's return, where the triplets are lists in memory; writing them as Parquet is
told apart. negmine's part is ``filter`` and ``export`` as stages in one process (``work``) and as
two commands with start-up (``wall``); both read checked Parquet and write checked Parquet. It runs
without the text guard (equal work) and with it (the default)::

    python scripts/make_verses.py DATA/verses --verses 8000 --corpus-verses 8000
    python scripts/bench_select.py DATA/verses --work WORK --num-negatives 4

The first run encodes the texts (minutes; what comes after search does not depend on how good the
vectors are, so ``--max-length 10`` does); ``--work`` keeps the candidates for the next.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import _bench
import numpy as np

#: What switches the text guard off, by parameter of ``filter``.
NO_GUARD: dict[str, Any] = {
    **dict.fromkeys(("same_text", "query_text", "near_duplicates", "repeated_texts"), False),
    **{"empty_texts": False, "own_document": "off", "duplicate_queries": False},
}
MARGIN = 0.05


def main() -> int:
    """Prepare the candidates, run the sides in turns and print the table; or be one side."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path, help="folder in BEIR layout")
    parser.add_argument("--work", type=Path, required=True, help="keeps pairs, vectors, candidates")
    parser.add_argument("--model", default=_bench.MINILM)
    parser.add_argument("--num-negatives", type=int, default=4)
    parser.add_argument("--max-length", type=int, help="tokens encoded: fewer are sooner ready")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", choices=tuple(_WORKERS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        _WORKERS[options.worker](options)
        return 0
    # In a process of its own: a process inherits the peak of the one that started it.
    _bench.worker(__file__, "prepare", *sys.argv[1:])
    sides = ("peer", "plain", "guarded")
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    walls: dict[str, list[_bench.Ran]] = {side: [] for side in sides[1:]}
    for _ in range(options.rounds):
        for side in sides:
            runs[side].append(_bench.worker(__file__, side, *sys.argv[1:]))
        for side in sides[1:]:
            walls[side] += _commands(options, side)
    print(_bench.machine("sentence-transformers", "datasets", "torch", "faiss-cpu", "pyarrow"))
    first = runs["peer"][0]
    print(
        f"{first['pairs']:,} pairs, {first['candidates']:,} candidates, "
        f"{first['triplets']:,} triplets; {same(options.work):.3%} of the triplets the same\n"
    )
    base = _bench.median(runs["peer"]) / first["triplets"] * 1e6
    base_used = _bench.median(runs["peer"], "work") / first["triplets"] * 1e6
    rows = []
    for side in sides:
        triplets = runs[side][0]["triplets"]
        seconds, used = _bench.median(runs[side]), _bench.median(runs[side], "work")
        rows.append(
            (
                {
                    "peer": "mine_hard_negatives after search",
                    "plain": "negmine filter + export, guard off",
                    "guarded": "negmine filter + export, default guard",
                }[side],
                f"{triplets:,}",
                f"{seconds:.2f} ({_bench.spread(runs[side])})",
                f"{seconds / triplets * 1e6:.2f}",
                f"{base / (seconds / triplets * 1e6):.1f}",
                f"{used / triplets * 1e6:.2f}",
                f"{base_used / (used / triplets * 1e6):.1f}",
                _wall(walls[side], triplets, base) if side in walls else "",
                f"{max(run['peak'] for run in runs[side]):.0f}",
            )
        )
    head = (
        *("side", "triplets", "seconds (least to most)", "microseconds a triplet"),
        *("times the peer", "CPU microseconds a triplet", "times the peer's"),
    )
    print(
        _bench.table((*head, "as commands, with start-up", "peak MiB"), rows),
        f"\nOf these, writing the peer's triplets as Parquet would add "
        f"{_bench.median(runs['peer'], 'parquet'):.2f} s; negmine's filter takes "
        f"{_bench.median(runs['plain'], 'filter'):.2f} s, its export "
        f"{_bench.median(runs['plain'], 'export'):.2f} s (guard on: "
        f"{_bench.median(runs['guarded'], 'filter'):.2f} s, "
        f"{_bench.median(runs['guarded'], 'export'):.2f} s).",
        sep="\n",
    )
    return 0


def _wall(ran: list[_bench.Ran], triplets: int, base: float) -> str:
    """Both commands' seconds, the mean over the rounds."""
    rounds = len(ran) // 2
    seconds = sum(one.seconds for one in ran) / rounds
    return f"{seconds:.2f} s ({base / (seconds / triplets * 1e6):.1f} times)"


def _prepare(options: argparse.Namespace) -> None:
    """The pairs, negmine's index and candidates, and the queries' vectors."""
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    file = work / "pairs.jsonl"
    if not file.is_file():
        _bench.write_pairs(_bench.pairs(options.data), file)
    _bench.negmine(
        *("index", "--pairs", str(file), "--no-bm25", "--encoder", f"dense={options.model}"),
        *("-o", f"{work}/index"),
        *(() if options.max_length is None else ("--max-length", str(options.max_length))),
    )
    depth = str(depths(file, options.num_negatives)[1])
    _bench.negmine(
        *("retrieve", f"{work}/index", "--pairs", str(file), "-k", depth),
        *("-o", f"{work}/candidates", "--rebuild"),
    )
    if not (work / "queries.npy").is_file():
        from negmine.models.base import EncoderSettings
        from negmine.models.encoders import load_encoder
        from negmine.models.resolve import resolve

        asked = list(dict.fromkeys(row["query"] for row in _bench.records(file)))
        encoder = load_encoder(
            resolve(options.model), EncoderSettings(batch_size=128, max_length=options.max_length)
        )
        np.save(work / "queries.npy", encoder.encode(asked, "query"))
    _bench.tell()


def depths(file: Path, negatives: int) -> tuple[int, int]:
    """range_max as mine_hard_negatives chooses it, and how deep it then searches."""
    count: dict[str, int] = {}
    for row in _bench.records(file):
        count[row["query"]] = count.get(row["query"], 0) + 1
    most = max(count.values())
    return 10 * negatives + most, 10 * negatives + 2 * most


def _filter(options: argparse.Namespace, guard: bool) -> list[str]:
    return [
        *("filter", f"{options.work}/candidates", "--by", "dense"),
        *("--relative-margin", str(MARGIN)),
        *(
            "--num-negatives",
            str(options.num_negatives),
            "-o",
            f"{options.work}/ledger",
            "--rebuild",
        ),
        *(() if guard else _flags(NO_GUARD)),
    ]


def _flags(settings: Mapping[str, Any]) -> Iterator[str]:
    """Settings as the command line has them."""
    for name, value in settings.items():
        option = name.replace("_", "-")
        yield from (f"--no-{option}",) if value is False else (f"--{option}", str(value))


def _export(options: argparse.Namespace, side: str) -> list[str]:
    return [
        *("export", f"{options.work}/ledger", "--format", "triplet", "--rebuild"),
        *("-o", f"{options.work}/{side}.parquet"),
    ]


def _commands(options: argparse.Namespace, side: str) -> list[_bench.Ran]:
    _clean(options, side)
    commands = (_filter(options, side == "guarded"), _export(options, side))
    return [_bench.negmine(*command) for command in commands]


def _clean(options: argparse.Namespace, side: str) -> None:
    shutil.rmtree(options.work / "ledger", ignore_errors=True)
    for name in (f"{side}.parquet", f"_{side}.parquet.manifest.json"):
        (options.work / name).unlink(missing_ok=True)


def _negmine(options: argparse.Namespace) -> None:
    """The two stages in this process, their modules loaded."""
    import pyarrow.parquet as pq

    from negmine.params import ExportParams, FilterParams
    from negmine.stages import export, filter

    side, guard = options.worker, options.worker == "guarded"
    _clean(options, side)
    work: Path = options.work
    settings = FilterParams(
        by="dense",
        relative_margin=MARGIN,
        num_negatives=options.num_negatives,
        **({} if guard else NO_GUARD),
    )
    # The peer's modules are loaded when its clock starts; pyarrow loads pandas when it finds it.
    import pandas  # noqa: F401

    if guard:
        import rensa  # noqa: F401
        import scipy.sparse.csgraph  # noqa: F401
    started, used = time.perf_counter(), time.process_time()
    filter.run(settings, work / "candidates", work / "ledger")
    filtered = time.perf_counter()
    export.run(ExportParams(format="triplet"), work / "ledger", work / f"{side}.parquet")
    done = time.perf_counter()
    _bench.tell(
        seconds=done - started,
        work=time.process_time() - used,
        filter=filtered - started,
        export=done - filtered,
        triplets=pq.ParquetFile(work / f"{side}.parquet").metadata.num_rows,
    )


def _peer(options: argparse.Namespace) -> None:
    """``mine_hard_negatives`` on vectors that are there already, timed after its search."""
    import torch
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    from negmine.sources.vectors import Vectors
    from negmine.table import artifacts
    from negmine.table.documents import Documents, full_text

    work: Path = options.work
    rows = list(_bench.records(work / "pairs.jsonl"))
    index = artifacts.open_artifact(work / "index" / "documents")
    texts = [t for _, part in Documents(index).parts() for t in full_text(part).to_pylist()]
    vectors = Vectors(artifacts.open_artifact(work / "index" / "vectors" / "dense"))
    matrix = np.concatenate([np.asarray(part, dtype=np.float32) for _, part in vectors.parts()])
    known = {text: row for row, text in enumerate(texts)}
    asked = {text: row for row, text in enumerate(dict.fromkeys(r["query"] for r in rows))}
    of_queries = np.load(work / "queries.npy")
    model = SentenceTransformer(_bench.model_folder(options.model), device="cpu")
    model.encode_document = lambda found, **_: matrix[[known[text] for text in found]]
    model.encode_query = lambda found, **_: of_queries[[asked[text] for text in found]]
    at = [0.0, 0.0]
    scored = model.similarity_pairwise

    def positives(*arguments: Any) -> torch.Tensor:
        found = scored(*arguments)
        at[:] = time.perf_counter(), time.process_time()
        return found

    model.similarity_pairwise = positives
    range_max, depth = depths(work / "pairs.jsonl", options.num_negatives)
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        mined = mine_hard_negatives(
            Dataset.from_list(rows),
            model,
            relative_margin=MARGIN,
            num_negatives=options.num_negatives,
            range_max=range_max,
            use_faiss=True,
            output_format="triplet",
        )
        done, used = time.perf_counter(), time.process_time()
        mined.to_parquet(str(work / "peer.parquet"))
    _bench.tell(
        seconds=done - at[0],
        work=used - at[1],
        parquet=time.perf_counter() - done,
        triplets=len(mined),
        pairs=len(rows),
        candidates=len(asked) * depth,
    )


_WORKERS = {"prepare": _prepare, "peer": _peer, "plain": _negmine, "guarded": _negmine}


def same(work: Path) -> float:
    """Share of the peer's triplets that negmine gives too, without its guard."""
    import pyarrow.parquet as pq

    def triplets(name: str) -> set[tuple[str, ...]]:
        table = pq.read_table(work / f"{name}.parquet")
        return set(zip(*(column.to_pylist() for column in table.columns[:3]), strict=True))

    mine, theirs = triplets("plain"), triplets("peer")
    return len(mine & theirs) / len(mine | theirs)


if __name__ == "__main__":
    sys.exit(main())
