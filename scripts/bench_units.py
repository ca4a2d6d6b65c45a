"""What a unit of each stage's work costs on this machine, with one thread: ``docs/units.json``.

::

    OMP_NUM_THREADS=1 python scripts/bench_units.py DATA/medquad --out FOLDER --json docs/units.json

Every figure comes from the stages themselves, run as a user runs them, each twice: on little and on
more. The difference is the unit (CPU seconds from ``run.cpu_seconds`` of the artifacts' manifests,
bytes from their ``files``), and what is left of the smaller process is its start (imports, a model
or Java). CPU seconds of one thread are told, because other work on the machine hardly moves them.

Texts, candidates, scores and training examples are those of DATA, a folder in BEIR layout. Searches
are measured on corpora of several sizes made of it: passages of its documents, two drawn at random
for each, as many as wanted. Their vectors are those of a static model of random weights, because a
search's time hangs on how many and how long they are; what it finds means nothing here.

``scripts/plan_scale.py`` computes from the file what a larger collection will take.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import random
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _bench
from bench_refilter import GUARD_OFF

PACKAGES = (
    *("negmine", "torch", "sentence-transformers", "onnxruntime", "openvino"),
    *("pyserini", "faiss-cpu", "pyarrow", "numpy"),
)
ONE = ("--threads", "1")
PER_SOURCE, NEGATIVES, PASSAGE = 100, 4, 15
#: 48 bytes a vector. "np": without the training for a search by Hamming distance, which nothing
#: here makes; it takes minutes of one thread, however small the corpus.
CODES = "PQ48np"
PROBES = 16
#: How often files are read, where the quickest counts: so little is soon read.
READ = 5


@dataclass(frozen=True)
class Sizes:
    """How much is measured: little and more of each.

    Attributes:
        documents: whose texts are stored and indexed.
        encoded: documents for the encoder.
        queries: queries whose candidates are filtered and exported.
        pairs: queries with ``top`` candidates each for the cross-encoder.
        top: these.
        grown: documents that are searched.
        asked: queries of these searches.
        lists: of the approximate index. No corpus has fewer documents than FAISS learns from.
    """

    documents: tuple[int, int] = (2_000, 16_000)
    encoded: tuple[int, int] = (100, 600)
    queries: tuple[int, int] = (500, 3_000)
    pairs: tuple[int, int] = (4, 24)
    top: int = 8
    grown: tuple[int, int] = (66_000, 132_000)
    asked: tuple[int, int] = (200, 8_000)
    lists: int = 512


#: More texts and rows than of what a model reads: so that the clock sees a difference.
SHORT = Sizes(
    documents=(200, 4_000),
    encoded=(8, 24),
    queries=(10, 800),
    pairs=(2, 6),
    top=3,
    grown=(1_000, 3_000),
    asked=(8, 64),
    lists=4,
)


@dataclass(frozen=True)
class Made:
    """One process and the artifacts that it left.

    Attributes:
        cpu: CPU seconds of the whole process.
        manifests: of each artifact, by its stage.
        peak: most resident bytes.
    """

    cpu: float
    manifests: Mapping[str, Any]
    peak: int

    def seconds(self, stage: str) -> float:
        """CPU seconds that an artifact took."""
        return float(self.manifests[stage]["run"]["cpu_seconds"])

    def count(self, stage: str, name: str) -> int:
        """A count of an artifact."""
        return int(self.manifests[stage]["counts"][name])

    def size(self, stage: str, prefix: str = "part-") -> int:
        """Bytes of an artifact's files whose names begin so."""
        files = self.manifests[stage]["files"]
        return sum(_bytes(one) for name, one in files.items() if name.startswith(prefix))


def _bytes(entry: Mapping[str, Any]) -> int:
    """Of a file, or of a folder in an artifact."""
    if "files" in entry:
        return sum(_bytes(one) for one in entry["files"].values())
    return int(entry["bytes"])


def made(command: str, *arguments: object, out: Path) -> Made:
    """Run a stage, and read the manifests that it wrote."""
    before = {path: path.stat().st_mtime_ns for path in out.rglob("_manifest.json")}
    ran = _bench.negmine(command, *map(str, arguments), "--quiet", "-o", str(out))
    found = {}
    for path in out.rglob("_manifest.json"):
        if before.get(path) != path.stat().st_mtime_ns:
            read = json.loads(path.read_text())
            found[read["stage"]] = read
    # What the system tells of a child counts this process, too, from which it was forked.
    peak = max((one["run"].get("peak_rss_bytes") or 0 for one in found.values()), default=0)
    return Made(ran.cpu_seconds, found, peak)


def unit(runs: Sequence[Made], stage: str, counts: Sequence[float]) -> float:
    """CPU seconds of one more, from little and more."""
    few, many = (run.seconds(stage) for run in runs)
    return max(0.0, many - few) / (counts[1] - counts[0])


def require(data: Path, sizes: Sizes) -> None:
    """Refuse a collection that is smaller than what is measured: less would be told for more.

    Raises:
        SystemExit: it is.
    """
    wanted = {
        "corpus.jsonl": max(*sizes.documents, *sizes.encoded),
        "queries.jsonl": max(*sizes.queries, *sizes.pairs, *sizes.asked),
    }
    for name, least in wanted.items():
        if (there := sum(1 for _ in _bench.records(data / name))) < least:
            raise SystemExit(f"{data / name} has {there:,} records, and {least:,} are measured")


def rate(seconds: float) -> float:
    """Units a CPU second; 0 where the clock saw no difference between little and more."""
    return 1 / seconds if seconds else 0.0


def start(run: Made, *work: float) -> float:
    """CPU seconds of a process beside its work."""
    return max(0.0, run.cpu - sum(work))


def section(out: Path, name: str, measure: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """What was measured in a folder of its own; where that was finished, as it was then."""
    kept = out / f"{name}.json"
    if kept.is_file():
        found: dict[str, Any] = json.loads(kept.read_text())
        return found
    print(f"{name} ...", file=sys.stderr, flush=True)
    shutil.rmtree(out / name, ignore_errors=True)
    (out / name).mkdir(parents=True)
    found = measure(out / name)
    kept.write_text(json.dumps(found))
    return found


# --- texts ------------------------------------------------------------------------------------


def shuffled(data: Path, folder: Path, name: str) -> Path:
    """A file's records at random: they lie by their origin and so by length, and the first ones are
    those that ``--limit`` takes."""
    records = list(_bench.records(data / name))
    random.Random(1).shuffle(records)
    path = folder / name
    with path.open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(one, ensure_ascii=False) + "\n" for one in records)
    return path


def of_texts(out: Path, sizes: Sizes, data: Path) -> dict[str, Any]:
    """Documents, BM25 and signatures, by the byte of text."""
    runs = []
    for number in sizes.documents:
        given = ("--corpus", data, "--limit", number, *ONE)
        runs.append(made("index", *given, out=out / f"text-{number}"))
    texts = [run.count("index.documents", "text_bytes") for run in runs]
    few, many = runs
    documents = many.count("index.documents", "documents")
    names = {"documents": "documents", "bm25": "bm25_index", "signatures": "signatures"}
    units: dict[str, Any] = {}
    for child, name in names.items():
        stage = f"index.{child}"
        units[name] = {
            "seconds_per_text_byte": unit(runs, stage, texts),
            "documents_per_second": rate(unit(runs, stage, sizes.documents)),
        }
    beside = sum(units[one]["seconds_per_text_byte"] * texts[0] for one in names.values())
    units["bm25_index"]["start_seconds"] = start(few, beside)
    return {
        "units": units,
        "bytes": {
            "documents_per_text_byte": many.size("index.documents") / texts[1],
            "lucene_per_text_byte": many.size("index.bm25", "") / texts[1],
            "signatures_per_document": many.size("index.signatures") / documents,
        },
        "text_bytes_per_document": texts[1] / documents,
    }


def tokens_of(texts: Sequence[str], model: str, longest: int) -> int:
    """How many tokens a model reads of texts."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(_bench.model_folder(model))
    read = tokenizer(list(texts), truncation=True, max_length=longest)["input_ids"]
    return sum(map(len, read))


def of_encoder(out: Path, sizes: Sizes, data: Path, model: str, runtime: str) -> dict[str, Any]:
    """An encoder, by the token and by the document."""
    corpus = shuffled(data, out, "corpus.jsonl")
    runs = []
    for number in sizes.encoded:
        given = ["--corpus", corpus, "--limit", number, "--no-bm25", "--no-signatures", *ONE]
        given += ["--encoder", f"encoder={model}", "--runtime", runtime]
        runs.append(made("index", *given, out=out / f"encoded-{number}"))
    longest = int(runs[1].manifests["index.vectors"]["encoder"]["max_length"])
    texts = _bench.corpus(out)[1]
    read = [texts[:number] for number in sizes.encoded]
    tokens = [tokens_of(texts, model, longest) for texts in read]
    per_token = unit(runs, "index.vectors", tokens)
    per_document = unit(runs, "index.vectors", sizes.encoded)
    described = runs[1].manifests["index.vectors"]["encoder"]
    return {
        "encode": {
            "model": model,
            "backend": described["backend"],
            "dtype": described["dtype"],
            "seconds_per_token": per_token,
            "tokens_per_second": rate(per_token),
            "documents_per_second": rate(per_document),
            "tokens_per_document": tokens[1] / sizes.encoded[1],
            "start_seconds": start(runs[0], tokens[0] * per_token),
            "peak_bytes": runs[1].peak,
        }
    }


# --- the table --------------------------------------------------------------------------------


def of_table(out: Path, sizes: Sizes, data: Path) -> dict[str, Any]:
    """Filter, with and without what guards against copies, and export, by row and example."""
    index = out.parent / "texts" / f"text-{sizes.documents[1]}"
    tables = []
    for number in sizes.queries:
        given = ("--queries", data, "--qrels", data, "--source", "bm25", "-k", PER_SOURCE)
        table = out / f"candidates-{number}"
        tables.append(made("retrieve", index, *given, "--limit", number, *ONE, out=table))
    rows = [table.count("retrieve", "candidates") for table in tables]
    rule = ("--by", "bm25", "--relative-margin", "0.05", "--num-negatives", NEGATIVES)
    kinds = {"filter": rule, "filter_unguarded": (*rule, *GUARD_OFF)}
    units: dict[str, Any] = {}
    for name, options in kinds.items():
        runs = [
            made("filter", out / f"candidates-{number}", *options, out=out / f"{name}-{number}")
            for number in sizes.queries
        ]
        per_row = unit(runs, "filter", rows)
        units[name] = {"seconds_per_row": per_row, "rows_per_second": rate(per_row)}
        units[name]["start_seconds"] = start(runs[0], per_row * rows[0])
    sets = [
        made("export", out / f"filter-{number}", out=out / f"train-{number}")
        for number in sizes.queries
    ]
    examples = [one.count("export", "examples") for one in sets]
    per_example = unit(sets, "export", examples)
    units["export"] = {
        "seconds_per_example": per_example,
        "examples_per_second": rate(per_example),
        "start_seconds": start(sets[0], per_example * examples[0]),
    }
    ledger = json.loads((out / f"filter-{sizes.queries[1]}" / "_manifest.json").read_text())
    return {
        "units": units,
        "bytes": {
            "candidates_per_row": tables[1].size("retrieve") / rows[1],
            "queries_per_query": tables[1].size("retrieve", "_queries/") / sizes.queries[1],
            "ledger_per_row": sum(_bytes(one) for one in ledger["files"].values()) / rows[1],
            "train_per_example": sets[1].size("export") / examples[1],
        },
        "rows_per_query": rows[1] / tables[1].count("retrieve", "queries"),
        "examples_per_query": examples[1] / tables[1].count("retrieve", "queries"),
    }


def of_reranker(out: Path, sizes: Sizes, data: Path, model: str) -> dict[str, Any]:
    """A cross-encoder, by the pair and by the token."""
    index = out.parent / "texts" / f"text-{sizes.documents[1]}"
    queries = shuffled(data, out, "queries.jsonl")
    asked = ["--queries", queries, "--qrels", data, "--source", "bm25", "-k", PER_SOURCE, *ONE]
    runs = []
    for number in sizes.pairs:
        source = out / f"candidates-{number}"
        made("retrieve", index, *asked, "--limit", number, out=source)
        given = [source, "--scorer", f"ce={model}", "--top", sizes.top, *ONE]
        runs.append(made("rerank", *given, out=out / f"scored-{number}"))
    # How long pairs are is what a dry run counts.
    dry = _bench.negmine("rerank", *map(str, given), "-o", f"{out / 'dry'}", "--dry-run", "--json")
    (planned,) = json.loads(dry.output)["stages"]
    pairs = [run.count("rerank", "scored") for run in runs]
    per_pair = unit(runs, "rerank", pairs)
    rows = runs[1].count("rerank", "candidates")
    return {
        "units": {
            "rerank": {
                "model": model,
                "seconds_per_pair": per_pair,
                "pairs_per_second": rate(per_pair),
                "tokens_per_pair": planned["tokens"] / pairs[1],
                "start_seconds": start(runs[0], per_pair * pairs[0]),
                "peak_bytes": runs[1].peak,
            }
        },
        "bytes": {"scored_per_row": runs[1].size("rerank") / rows},
    }


# --- searches ---------------------------------------------------------------------------------


def grow(data: Path, folder: Path, documents: int, queries: int) -> None:
    """A corpus of ``documents`` pairs of passages of the data's, and its first queries.

    The queries' known positives are documents by turns: what is found means nothing here.
    """
    drawn = random.Random(documents)
    passages = []
    for text in _bench.corpus(data)[1]:
        words = text.split()
        passages += [" ".join(words[at : at + PASSAGE]) for at in range(0, len(words), PASSAGE)]
    folder.mkdir(parents=True)
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as lines:
        for number in range(documents):
            text = f"{drawn.choice(passages)} {drawn.choice(passages)}"
            row = {"_id": f"d{number}", "title": "", "text": text}
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")
    ids, texts = _bench.queries(data, queries)
    with (folder / "queries.jsonl").open("w", encoding="utf-8") as lines:
        for qid, text in zip(ids, texts, strict=True):
            lines.write(json.dumps({"_id": qid, "text": text}, ensure_ascii=False) + "\n")
    judged = [f"{qid}\td{at % documents}\t1\n" for at, qid in enumerate(ids)]
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(judged))


def make_static(folder: Path, model: str) -> None:
    """An encoder that looks its words up: random weights, as wide as the model's own vectors."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from transformers import AutoConfig, AutoTokenizer

    place = _bench.model_folder(model)
    torch.manual_seed(1)
    width = int(AutoConfig.from_pretrained(place).hidden_size)
    module = StaticEmbedding(AutoTokenizer.from_pretrained(place), embedding_dim=width)
    SentenceTransformer(modules=[module], device="cpu").save(str(folder))


@dataclass(frozen=True)
class Searched:
    """One corpus: its index, and the searches of few and many queries by each kind of source."""

    documents: int
    index: Made
    runs: Mapping[str, Sequence[Made]]

    def seconds(self, kind: str, which: int = -1) -> float:
        """CPU seconds of a search, of many queries by default."""
        return self.runs[kind][which].seconds("retrieve")


def indexed(corpus: Path, out: Path, static: Path, lists: int) -> Made:
    """An index of a corpus with vectors and an inverted file."""
    given = ["--corpus", corpus, "--encoder", f"static={static}", "--no-signatures"]
    given += ["--vectors", "float16", "--ann", f"IVF{lists},{CODES}", *ONE]
    return made("index", *given, out=out)


def searched(data: Path, folder: Path, static: Path, documents: int, sizes: Sizes) -> Searched:
    """Make a corpus, index it, search it."""
    corpus = folder / "data"
    grow(data, corpus, documents, sizes.asked[1])
    index = indexed(corpus, folder / "index", static, sizes.lists)
    asked = ["--queries", corpus, "--qrels", corpus, "-k", PER_SOURCE, *ONE]

    def run(kind: str, number: int, *options: str) -> Made:
        given = [*asked, *options, "--limit", number]
        return made("retrieve", folder / "index", *given, out=folder / f"{kind}-{number}")

    kinds = {
        "bm25": ("--source", "bm25"),
        "exact": ("--source", "static"),
        "ann": ("--source", "static", "--ann", f"nprobe={PROBES}"),
    }
    runs = {
        kind: [run(kind, number, *options) for number in sizes.asked]
        for kind, options in kinds.items()
    }
    return Searched(documents, index, runs)


def by_size(kind: str, found: Sequence[Searched], sizes: Sizes) -> dict[str, float]:
    """What a query costs, and what each document adds to it.

    Two sizes tell that of exact search alone: Lucene passes by what cannot be among the best, and
    an inverted file looks at little. Of these all that a query takes in the larger corpus is taken
    for its documents', an upper bound in larger ones.

    Args:
        kind: of search.
        found: the smaller corpus, and the larger one.
        sizes: how many queries were asked.
    """
    few, many = sizes.asked
    counts = [one.documents for one in found]
    # What tells the recall is asked of few and of many queries alike.
    of_query = [(one.seconds(kind) - one.seconds(kind, 0)) / (many - few) for one in found]
    per_pair = max(0.0, of_query[1] - of_query[0]) / (counts[1] - counts[0])
    if kind != "exact":
        per_pair = max(0.0, of_query[1]) / counts[1]
    run = found[0].runs[kind][0]
    beside = max(0.0, of_query[0]) * few
    return {
        "seconds_per_query": max(0.0, of_query[1] - per_pair * counts[1]),
        "seconds_per_query_and_document": per_pair,
        "queries_per_second": rate(max(0.0, of_query[1])),
        "documents": counts[1],
        "start_seconds": start(run, beside),
        "peak_bytes": found[0].runs[kind][-1].peak,
    }


def of_searches(out: Path, sizes: Sizes, data: Path, model: str) -> dict[str, Any]:
    """BM25, exact and approximate search, and what builds the latter."""
    static = out / "static"
    make_static(static, model)
    # Both corpora at once: other work on the machine hardly moves CPU seconds.
    with ThreadPoolExecutor(2) as pool:
        found = list(
            pool.map(
                lambda size: searched(data, out / f"grown-{size}", static, size, sizes), sizes.grown
            )
        )
    units = {f"search_{kind}": by_size(kind, found, sizes) for kind in ("bm25", "exact", "ann")}
    return {
        "units": {**units, **of_building(found, sizes)},
        "bytes": of_vectors(found[1]),
    }


def of_building(found: Sequence[Searched], sizes: Sizes) -> dict[str, Any]:
    """What training and filling of an inverted file cost, with so many lists."""
    few, many = (one.index for one in found)
    per_vector = unit((few, many), "index.ann", sizes.grown)
    return {
        "ann_build": {
            "factory": f"IVF{sizes.lists},{CODES}",
            "probes": PROBES,
            "lists": sizes.lists,
            "seconds_per_vector": per_vector,
            "training_seconds": max(0.0, few.seconds("index.ann") - per_vector * sizes.grown[0]),
        }
    }


def of_vectors(one: Searched) -> dict[str, float]:
    """Bytes of a vector, and of its code."""
    stored = one.index.size("index.vectors") / one.documents
    return {
        "vectors_float16_per_document": stored,
        "vectors_float32_per_document": 2 * stored,
        "ann_per_document": one.index.size("index.ann", "") / one.documents,
    }


def of_checking(out: Path, sizes: Sizes) -> dict[str, Any]:
    """Reading files and comparing their checksums, by the byte."""
    folders = [out.parent / "searches" / f"grown-{size}" / "index" for size in sizes.grown]
    weights = [
        sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        for folder in folders
    ]
    spent = [
        min(
            _bench.negmine("inspect", str(one), "--verify", "--quiet").cpu_seconds
            for _ in range(READ)
        )
        for one in folders
    ]
    per_byte = max(0.0, spent[1] - spent[0]) / (weights[1] - weights[0])
    return {"verify": {"seconds_per_byte": per_byte, "bytes_per_second": rate(per_byte)}}


def measured(arguments: argparse.Namespace, sizes: Sizes) -> dict[str, Any]:
    """All of it."""
    data, encoder = arguments.data, arguments.encoder

    def of(name: str, measure: Callable[..., dict[str, Any]], *given: Any) -> dict[str, Any]:
        return section(arguments.out, name, lambda out: measure(out, sizes, *given))

    texts = of("texts", of_texts, data)
    table = of("table", of_table, data)
    reranked = of("reranker", of_reranker, data, arguments.scorer)
    encoded = of("encoder", of_encoder, data, encoder, arguments.runtime)
    searches = of("searches", of_searches, data, encoder)
    checked = of("checking", of_checking)
    parts = (texts, table, reranked, searches)
    return {
        "units": {
            **{name: one for part in parts for name, one in part["units"].items()},
            **encoded,
            **checked,
        },
        "bytes": {name: one for part in parts for name, one in part["bytes"].items()},
        "collection": {
            "name": data.name,
            "documents": sizes.documents[1],
            "text_bytes_per_document": texts["text_bytes_per_document"],
            "rows_per_query_and_source": table["rows_per_query"],
            "examples_per_query": table["examples_per_query"],
        },
    }


def shown(found: Mapping[str, Any]) -> str:
    """The rates and bytes as Markdown."""
    rates = []
    for name, one in found["units"].items():
        for key, value in one.items():
            if key.endswith("_per_second"):
                rates.append(
                    (name, key.removesuffix("_per_second").replace("_", " "), f"{value:,.4g}")
                )
    sizes = [(name.replace("_", " "), f"{value:,.4g}") for name, value in found["bytes"].items()]
    return "\n\n".join(
        (
            _bench.table(("stage", "unit", "units a CPU second"), rates),
            _bench.table(("what", "bytes"), sizes),
        )
    )


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("data", type=Path, help="folder in BEIR layout")
    parser.add_argument(
        "--out", type=Path, required=True, help="work folder: what it holds is not measured again"
    )
    parser.add_argument("--json", type=Path, required=True, help="where the figures go")
    parser.add_argument("--encoder", default=_bench.MINILM)
    parser.add_argument("--scorer", default=_bench.RERANKER)
    parser.add_argument("--runtime", default="openvino", help="what runs the encoder")
    parser.add_argument("--short", action="store_true", help="a few texts: does it run?")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    before = os.getloadavg()[0]
    sizes = SHORT if arguments.short else Sizes()
    require(arguments.data, sizes)
    found = measured(arguments, sizes)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    facts = {
        "machine": {
            "processor": _bench.cpu(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_gib": round(memory),
            "system": platform.system(),
            "load": [round(before, 1), round(os.getloadavg()[0], 1)],
        },
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in PACKAGES},
        },
        **_bench.significant(found),
    }
    arguments.json.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    print(f"{_bench.machine(*PACKAGES)}\n\n{shown(facts)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
