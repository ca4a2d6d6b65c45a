"""What a collection of any size will take: hours, machines, disk and memory of every stage.

Nothing is run: all is computed from the unit costs that ``scripts/bench_units.py`` measured::

    python scripts/plan_scale.py docs/units.json --documents 10000000 --cores 32 --machines 4
    python scripts/plan_scale.py docs/units.json --page docs/scale.md           # rewrite its tables
    python scripts/plan_scale.py docs/units.json --page docs/scale.md --check   # are they fresh?
    python scripts/plan_scale.py docs/units.json --keep WORK                    # a real run, beside

Hours are CPU seconds of one thread, divided among the threads or shards that share the work. What a
GPU does is unmeasured: its speed is yours to give (``--gpu-tokens-per-second`` and
``--gpu-pairs-per-second``). ``--keep`` reads from the manifests of a finished work folder what it
took, and puts it into the file: the page compares it with what is computed for it.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from _bench import table
from _plan import (
    HELD_CODE,
    HELD_ID,
    HELD_QUERY,
    PER_LIST,
    PROBED,
    SHARED,
    TRAINED_ON,
    Step,
    Task,
    Units,
    dear_from,
    learned,
    lists_for,
    planned,
    shards_of,
)
from bench_engines import shown_models, shown_parts

HOUR, GB = 3600.0, 1e9
SIZES = (1_000_000, 10_000_000, 100_000_000, 1_000_000_000)
CLUSTERS = ((1, 16), (8, 32), (64, 32))
BEGIN, END = "<!-- plan: {} -->\n", "<!-- /plan -->\n"
#: A GPU that does so many times what one core does: an assumption, to show what would be left.
ASSUMED = 200


# --- what it says -------------------------------------------------------------------------------


def hours(seconds: float) -> str:
    """Hours with two digits."""
    value = seconds / HOUR
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def gigabytes(size: float) -> str:
    """GB with two digits."""
    value = size / GB
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def millions(count: float) -> str:
    """A count in words."""
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:g}{name}"
    return f"{count:g}"


def approximately(task: Task) -> str:
    """The options of an approximate search of so many documents."""
    lists = lists_for(task.documents)
    return (
        f"`index --ann IVF{lists},PQ48np`, `retrieve --ann nprobe={max(1, round(lists * PROBED))}`"
    )


def options(plan: Sequence[Step], task: Task) -> list[str]:
    """Which options to set."""
    told = []
    if any(step.name == "index: IVF-PQ" for step in plan):
        told.append(approximately(task))
    for command, shards in shards_of(plan, task).items():
        if shards > 1:
            told.append(f"`{command} --shard I/{shards}`")
    if task.shards > 1:
        told.append(
            f"for each shard `--threads 1` and a `--memory` of 1/{task.cores} of a machine's"
        )
    return told or ["none"]


def memory(units: Units, task: Task) -> list[tuple[str, str]]:
    """Resident bytes of a process, by what it does: measured, and what grows by the document."""
    lists = lists_for(task.documents)
    width = units.bytes("vectors_float16_per_document") / 2
    sample = min(task.documents, max(TRAINED_ON, PER_LIST * lists))
    found = [
        ("index, ids of all documents", gigabytes(HELD_ID * task.documents)),
        ("index --encoder, a shard", gigabytes(units.of("encode", "peak_bytes"))),
        ("index --ann, learning", gigabytes(4 * width * (sample + 2 * min(sample, TRAINED_ON)))),
        ("retrieve, a shard", gigabytes(units.of("search_exact", "peak_bytes"))),
        ("rerank, a shard", gigabytes(units.of("rerank", "peak_bytes"))),
        ("filter, what shards tell of all queries", gigabytes(HELD_QUERY * task.queries)),
    ]
    if units.approximate:
        longest = 3 * task.documents / lists
        held = PROBED * lists * longest * (units.bytes("ann_per_document") + HELD_CODE)
        found.append(("retrieve --ann, lists of one query beside", gigabytes(held)))
    return found


def bottleneck(plan: Sequence[Step], task: Task) -> str:
    """The stage that takes most of the time on these machines."""
    most = max(plan, key=lambda step: step.wall(task))
    share = most.wall(task) / sum(step.wall(task) for step in plan)
    why = {"one": "one thread", "threads": "one machine", "shards": "all shards"}[most.how]
    if most.how == "shards" and most.units < task.shards:
        why = f"only {most.units} units"
    return f"{most.name} ({share:.0%}; {why})"


def one(units: Units, task: Task) -> str:
    """The plan of one task."""
    plan = planned(units, task)
    rows = [
        (
            step.name,
            {"one": "one process", "threads": "one process, all cores"}.get(step.how, "shards"),
            f"{step.units:,}" if step.how == "shards" else "",
            hours(step.seconds)
            if step.gpu is None
            else f"({hours(step.gpu)} of a GPU: unmeasured)",
            hours(step.wall(task)),
            gigabytes(step.disk) if step.disk else "",
        )
        for step in plan
    ]
    total = sum(step.wall(task) for step in plan)
    rows.append(
        (
            "all",
            "",
            "",
            hours(sum(s.seconds for s in plan if s.gpu is None)),
            hours(total),
            gigabytes(sum(step.disk for step in plan)),
        )
    )
    head = ("stage", "runs as", "units", "core hours", "hours", "GB on disk")
    return (
        f"{millions(task.documents)} documents, {millions(task.queries)} queries, "
        f"{millions(task.rows)} candidates, {millions(task.pairs)} pairs reranked; "
        f"{task.machines} machines of {task.cores} cores\n\n{table(head, rows)}\n\n"
        f"Bottleneck: {bottleneck(plan, task)}.\nOptions: {'; '.join(options(plan, task))}.\n"
        f"{together(task)}\n"
    )


def together(task: Task) -> str:
    """What shards of ``filter`` that begin at once tell each other."""
    found = learned(task)
    return (
        f"Shards of filter that begin at once: each of {found.shards:,} reads "
        f"{gigabytes(found.told)} GB of summaries of queries and holds "
        f"{gigabytes(HELD_QUERY * task.queries)} GB of them; in a bucket {found.parts:,} PUTs and "
        f"{found.gets * found.shards:,} GETs a round."
    )


# --- the page's tables ----------------------------------------------------------------------------


def rates(units: Units) -> str:
    """Units of work a CPU second."""
    rows = [
        (stage, key.removesuffix("_per_second").replace("_", " "), f"{value:,.4g}")
        for stage, one in units.read["units"].items()
        for key, value in one.items()
        if key.endswith("_per_second")
    ]
    searched = units.of("search_exact", "seconds_per_query_and_document")
    rows.append(("search_exact", "vectors x queries", f"{1 / searched:,.4g}"))
    head = ("what", "unit", "units a CPU second")
    return f"{measured_on(units)}\n\n{table(head, rows)}{aside(units)}"


def aside(units: Units) -> str:
    """What was measured otherwise, or not at all."""
    told = [
        f"`{stage}`: {one['from']}." for stage, one in units.read["units"].items() if "from" in one
    ]
    if not units.approximate:
        told.append("Approximate search: not measured, and in no plan below.")
    return "".join(f"\n\n{line}" for line in told)


def measured_on(units: Units) -> str:
    """The machine and the versions."""
    machine, versions = units.read["machine"], units.read["versions"]
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"{machine['processor']}, one thread, {machine['memory_gib']} GiB, beside other work (load "
        f"{machine['load'][0]} to {machine['load'][1]} on {machine['cores']} cores); {named}."
    )


def starts(units: Units) -> str:
    """CPU seconds until a process begins to work."""
    rows = [
        (stage, f"{one['start_seconds']:.1f}")
        for stage, one in units.read["units"].items()
        if "start_seconds" in one
    ]
    return table(("process", "CPU seconds"), rows)


def sizes(units: Units) -> str:
    """Bytes of a row, and of a billion of them."""
    rows = [
        (name.replace("_per_", ", a ").replace("_", " "), f"{value:,.3g}")
        for name, value in units.read["bytes"].items()
    ]
    return table(("what", "bytes"), rows)


def work(units: Units) -> str:
    """Core hours by stage, with either search."""
    plans = {size: planned(units, units.task(size)) for size in SIZES}
    either: dict[str, dict[int, Step]] = {}
    for size in SIZES:
        for search in ("exact", "ann") if units.approximate else ("exact",):
            for step in planned(units, units.task(size, search=search)):
                either.setdefault(step.name, {})[size] = step
    order = [step.name for step in planned(units, units.task(SIZES[-1], search="ann"))]
    if units.approximate:
        order.insert(order.index("retrieve: approximate"), "retrieve: exact")
    rows = []
    for name in order:
        chosen = [any(step.name == name for step in plans[size]) for size in SIZES]
        told = [hours(either[name][size].seconds) for size in SIZES]
        shown = [cell if one else f"({cell})" for cell, one in zip(told, chosen, strict=True)]
        rows.append((name, *shown))
    rows.append(("all", *(hours(sum(s.seconds for s in plans[size])) for size in SIZES)))
    return table(("core hours", *map(millions, SIZES)), rows)


def walls(units: Units) -> str:
    """Hours on clusters, and what most of them go to."""
    rows = []
    for size in SIZES:
        for machines, cores in CLUSTERS:
            task = units.task(size, machines=machines, cores=cores)
            plan = planned(units, task)
            total = sum(step.wall(task) for step in plan)
            rows.append(
                (millions(size), f"{machines} x {cores}", hours(total), bottleneck(plan, task))
            )
    return table(("documents", "machines x cores", "hours", "bottleneck"), rows)


def disks(units: Units) -> str:
    """GB of every artifact."""
    plans = [planned(units, units.task(size, search="ann")) for size in SIZES]
    rows = []
    for at, step in enumerate(plans[0]):
        if step.disk:
            rows.append((step.name, *(gigabytes(plan[at].disk) for plan in plans)))
    wide = units.bytes("vectors_float32_per_document")
    rows.append(("(vectors in float32)", *(gigabytes(size * wide) for size in SIZES)))
    rows.append(("all", *(gigabytes(sum(s.disk for s in plan)) for plan in plans)))
    return table(("GB", *map(millions, SIZES)), rows)


def memories(units: Units) -> str:
    """GB of a process."""
    columns = [memory(units, units.task(size)) for size in SIZES]
    rows = [
        (name, *(column[at][1] for column in columns)) for at, (name, _) in enumerate(columns[0])
    ]
    return table(("GB resident", *map(millions, SIZES)), rows)


def learning(units: Units) -> str:
    """What shards of ``filter`` read of each other's summaries, on a cluster of the middle size."""
    rows = []
    for size in SIZES:
        task = units.task(size, machines=CLUSTERS[1][0], cores=CLUSTERS[1][1])
        found = learned(task)
        rows.append(
            (
                millions(size),
                millions(task.queries),
                f"{found.parts:,}",
                f"{found.shards:,}",
                gigabytes(found.told),
                gigabytes(found.told * found.shards),
                f"{found.parts:,}",
                f"{found.gets * found.shards:,}",
            )
        )
    head = ("documents", "queries", "parts", "shards", "GB a shard", "GB all", "PUTs", "GETs all")
    return table(head, rows)


def settings(units: Units) -> str:
    """Options by size, on a cluster of the middle size."""
    rows = []
    for size in SIZES:
        task = units.task(size, machines=CLUSTERS[1][0], cores=CLUSTERS[1][1])
        plan = planned(units, task)
        search = approximately(task) if "index: IVF-PQ" in {step.name for step in plan} else "exact"
        rows.append(
            (millions(size), *(f"{one:,}" for one in shards_of(plan, task).values()), search)
        )
    head = (*(f"`{command} --shard I/N`, N" for command in SHARED), "search")
    return table(("documents", *head), rows)


def turning(units: Units) -> str:
    """From how many queries on the other search is taken, and its options."""
    rows = []
    for size in SIZES:
        task = units.task(size)
        found = (dear_from(units, one) for one in (task, replace(task, pairs=0.0)))
        told = ["never" if math.isinf(one) else millions(float(f"{one:.2g}")) for one in found]
        rows.append((millions(size), *told, approximately(task)))
    head = ("documents", "reranked: queries", "not reranked: queries", "then")
    return table(head, rows)


def gpus(units: Units) -> str:
    """What is left where a GPU in each machine does the models' work: assumed, unmeasured."""
    rows = []
    machines, cores = CLUSTERS[1]
    for size in SIZES:
        plain = units.task(size, machines=machines, cores=cores)
        helped = units.task(
            size,
            machines=machines,
            cores=cores,
            encoder=ASSUMED * units.of("encode", "tokens_per_second"),
            reranker=ASSUMED * units.of("rerank", "pairs_per_second"),
        )
        found = [planned(units, one) for one in (plain, helped)]
        rows.append(
            (
                millions(size),
                hours(sum(step.wall(plain) for step in found[0])),
                hours(sum(step.wall(helped) for step in found[1])),
                bottleneck(found[1], helped),
            )
        )
    head = ("documents", "hours without", f"with {ASSUMED} times a core (unmeasured)", "bottleneck")
    return table(head, rows)


# --- against real runs ----------------------------------------------------------------------------

#: Where the chain's artifacts lie in a work folder, and which step of the plan each is.
PLACES = {
    "documents": "index/documents",
    "index: BM25": "index/bm25",
    "index: signatures": "index/signatures",
    "index: vectors": "index/vectors/*",
    "rerank": "scored",
    "filter": "ledger",
    "export": "train",
}


def taken(work: Path) -> dict[str, Any]:
    """Counts of a work folder's artifacts, and the CPU seconds and bytes that each took."""
    found: dict[str, Any] = {"seconds": {}, "bytes": {}}
    counts: dict[str, Any] = {}
    for name, place in (*PLACES.items(), ("retrieve", "candidates")):
        (folder,) = work.glob(place)
        manifest = json.loads((folder / "_manifest.json").read_text())
        counts[name] = manifest["counts"]
        found["seconds"][name] = manifest["run"]["cpu_seconds"]
        found["bytes"][name] = sum(
            path.stat().st_size for path in folder.rglob("*") if path.suffix != ".json"
        )
    found["counts"] = {
        "documents": counts["documents"]["documents"],
        "text_bytes": counts["documents"]["text_bytes"],
        "queries": counts["retrieve"]["queries"],
        "rows": counts["retrieve"]["candidates"],
        "pairs": counts["rerank"]["scored"],
        "examples": counts["export"]["examples"],
    }
    return found


def compared(units: Units) -> str:
    """What was told of real runs, and what they took."""
    rows: list[tuple[object, ...]] = []
    known = units.read["collection"]
    for name, run in units.read.get("runs", {}).items():
        counts = run["counts"]
        tokens = units.of("encode", "tokens_per_document") / known["text_bytes_per_document"]
        task = Task(tokens=counts["text_bytes"] * tokens, search="exact", **counts)
        plan = planned(units, task)
        told = {step.name: step.seconds for step in plan}
        disk = {step.name: step.disk for step in plan}
        told["retrieve"] = told["retrieve: BM25"] + told["retrieve: exact"]
        disk["retrieve"] = disk["retrieve: exact"]
        title = f"{name}, {counts['documents']:,} documents"
        for step, seconds in run["seconds"].items():
            weight = run["bytes"][step]
            error = f"{told[step] / seconds - 1:+.0%}" if seconds else ""
            of_disk = f"{disk[step] / weight - 1:+.0%}" if weight and disk[step] else ""
            mb = f"{disk[step] / 1e6:.2f}", f"{weight / 1e6:.2f}"
            rows.append((title, step, f"{told[step]:.2f}", f"{seconds:.2f}", error, *mb, of_disk))
            title = ""
        sums = sum(told[step] for step in run["seconds"]), sum(run["seconds"].values())
        rows.append(
            (
                "",
                "all",
                f"{sums[0]:.1f}",
                f"{sums[1]:.1f}",
                f"{sums[0] / sums[1] - 1:+.0%}",
                "",
                "",
                "",
            )
        )
    head = ("run", "stage", "told, CPU s", "measured", "error", "told, MB", "measured", "error")
    return table(head, rows)


#: Figures of bench_shards.py, in words.
OF_SHARDS = {
    "turns_cpu_seconds": "two shards in turns, CPU seconds",
    "at_once_cpu_seconds": "both at once, CPU seconds",
    "turns_seconds": "two shards in turns, seconds",
    "at_once_seconds": "both at once, seconds",
    "speed_up": "times as fast at once",
    "nothing_seconds": "a shard of nothing, seconds",
    "nothing_cpu_seconds": "a shard of nothing, CPU seconds",
    "collect_cpu_seconds": "collect, CPU seconds",
    "load_before": "other processes that wanted to run",
}


def shared(units: Units) -> str:
    """What sharing a stage among two shards cost."""
    found = units.read.get("shards", {})
    rows = [(told, *(one[key] for one in found.values())) for key, told in OF_SHARDS.items()]
    return table(("figure", *(f"`{stage}`" for stage in found)), rows)


def driven(units: Units) -> str:
    """What workers of an engine gained."""
    return shown_models(units.read["engines"])


def by_parts(units: Units) -> str:
    """What an engine adds to a part."""
    return shown_parts(units.read["engine_parts"])


TABLES: Mapping[str, Callable[[Units], str]] = {
    "rates": rates,
    "starts": starts,
    "bytes": sizes,
    "work": work,
    "walls": walls,
    "disks": disks,
    "memory": memories,
    "learned": learning,
    "options": settings,
    "turning": turning,
    "gpus": gpus,
    "runs": compared,
    "shards": shared,
    "engines": driven,
    "engine parts": by_parts,
}


def rewritten(text: str, units: Units) -> str:
    """A page with its tables made anew."""
    for name, make in TABLES.items():
        mark = BEGIN.format(name)
        before, found, rest = text.partition(mark)
        if found:
            _, _, after = rest.partition(END)
            text = f"{before}{mark}\n{make(units)}\n\n{END}{after}"
    return text


def main() -> int:
    """Print a plan, rewrite or check a page, or keep a run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("units", type=Path, help="what bench_units.py wrote")
    parser.add_argument("--documents", type=int, nargs="+", default=SIZES)
    parser.add_argument("--queries", type=int, help="default: one for 20 documents, at most 1M")
    parser.add_argument("-k", dest="per_source", type=int, default=100, help="candidates a source")
    parser.add_argument("--reranked", type=int, default=50, help="pairs a query, positives beside")
    parser.add_argument("--search", choices=("auto", "exact", "ann"), default="auto")
    parser.add_argument("--machines", type=int, default=1)
    parser.add_argument("--cores", type=int, default=16)
    parser.add_argument("--gpu-tokens-per-second", dest="encoder", type=float)
    parser.add_argument("--gpu-pairs-per-second", dest="reranker", type=float)
    parser.add_argument("--page", type=Path, help="rewrite the tables of this page")
    parser.add_argument("--check", action="store_true", help="with --page: exit 1 if stale")
    parser.add_argument("--keep", type=Path, help="put a finished work folder's figures into UNITS")
    given = vars(parser.parse_args())
    path, documents = given.pop("units"), given.pop("documents")
    page, check, keep = (given.pop(name) for name in ("page", "check", "keep"))
    read = json.loads(path.read_text(encoding="utf-8"))
    units = Units(read)
    if keep is not None:
        read.setdefault("runs", {})[keep.name] = taken(keep)
        path.write_text(json.dumps(read, indent=2) + "\n", encoding="utf-8")
        return 0
    if page is not None:
        text = page.read_text(encoding="utf-8")
        new = rewritten(text, units)
        if check:
            print("" if new == text else f"{page} is stale: run {sys.argv[0]}", file=sys.stderr)
            return int(new != text)
        page.write_text(new, encoding="utf-8")
        return 0
    for size in documents:
        print(one(units, units.task(size, **given)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
