"""The candidates table as an object: its parts, and the texts and vectors that lie behind it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from negmine.errors import UsageError, did_you_mean
from negmine.table import schemas
from negmine.table.artifacts.reading import Artifact, open_artifact
from negmine.table.documents import Documents
from negmine.table.names import MINIMAL_PAIR, VECTORS, WRITTEN
from negmine.table.part import Part

#: What holds the rows of the table.
STAGES = ("retrieve", "rerank", "filter")


@dataclass(frozen=True, eq=False)
class Candidates:
    """The table as any stage from ``retrieve`` on left it, with all that it was made from.

    What lies behind it is opened when it is first asked for, and once: a manifest lists every part.

    Attributes:
        artifact: the artifact that holds the rows.
    """

    artifact: Artifact

    @property
    def path(self) -> Path:
        """Where the rows lie."""
        return self.artifact.path

    @property
    def fingerprint(self) -> str:
        """Hash of all that decided its rows."""
        return self.artifact.fingerprint

    @property
    def made_with(self) -> str:
        """The version of negmine that made it."""
        return self.artifact.made_with

    @property
    def counts(self) -> Mapping[str, Any]:
        """Row and loss counts of the stage that made it."""
        return self.artifact.counts

    @property
    def params(self) -> Mapping[str, Any]:
        """The settings of the stage that made it."""
        return self.artifact.params

    # --- rows -------------------------------------------------------------------------------------

    @property
    def parts(self) -> list[str]:
        """Names of the parts, in order."""
        return self.artifact.parts

    def rows(self, name: str) -> int:
        """Rows of a part."""
        return self.artifact.rows(name)

    @cached_property
    def _schema(self) -> pa.Schema:
        return self.artifact.schema()

    def schema(self) -> pa.Schema:
        """Columns of the table, and their types."""
        return self._schema

    @property
    def sources(self) -> list[str]:
        """Retrieval sources, in table order."""
        return schemas.source_names(self._schema)

    @property
    def scores(self) -> list[str]:
        """Score columns without their prefix, in table order."""
        return schemas.score_names(self._schema)

    def read(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """One part as a table; ``columns`` projects."""
        return self.artifact.read(name, columns)

    def part(self, name: str, columns: list[str] | None = None) -> Part:
        """Likewise, as aligned arrays."""
        return Part(self.read(name, columns))

    def tables(
        self, what: str, columns: list[str] | None = None, names: Sequence[str] | None = None
    ) -> Iterator[tuple[str, pa.Table]]:
        """(name, part) in order, of all or some, with a progress bar that says ``what`` is done."""
        return self.artifact.tables(what, columns, names)

    # --- texts ------------------------------------------------------------------------------------

    @cached_property
    def retrieved(self) -> Artifact:
        """The table as ``retrieve`` left it: what was asked of which sources."""
        return self.artifact.ancestor("retrieve")

    @property
    def k(self) -> int | None:
        """How many candidates per query each source was asked for; None where it is not known."""
        return self.retrieved.params.get("k")

    @property
    def bands(self) -> dict[str, str]:
        """The slice FROM:TO of a source's rankings that was taken, where it was not the first k."""
        parted = (entry.partition("=") for entry in self.retrieved.params.get("band", ()))
        return {name: band for name, _, band in parted}

    @property
    def negative_grade(self) -> float:
        """The highest grade that says a document is not relevant."""
        return float(self.retrieved.params.get("negative_grade", 0.0))

    def queries(self, name: str) -> pa.Table:
        """``qid``, ``text`` and the kept columns of a part's queries."""
        return self.retrieved.read(f"_queries/{name}")

    def query_texts(self, parts: Iterable[str], qids: pa.Array) -> dict[str, str]:
        """Texts of some queries of some parts, by their ids."""
        found: dict[str, str] = {}
        for name in dict.fromkeys(parts):
            asked = self.queries(name)
            some = asked.filter(pc.is_in(asked.column("qid").cast(pa.string()), value_set=qids))
            texts = (some.column(of).to_pylist() for of in ("qid", "text"))
            found |= zip(*texts, strict=True)
        return found

    @cached_property
    def _written(self) -> list[Artifact]:
        return [self.retrieved.input(role) for role in self.retrieved.roles(WRITTEN)]

    @cached_property
    def near_on_purpose(self) -> pa.Array:
        """Ids of the documents that were made to be near a positive, and say something else."""
        made = [one for one in self._written if one.params.get("kind") == MINIMAL_PAIR]
        parts = (one.read(name, ["docid"]) for one in made for name in one.parts)
        ids = [chunk for part in parts for chunk in part.column("docid").chunks]
        return pa.chunked_array(ids, pa.string()).combine_chunks()

    @cached_property
    def documents(self) -> Documents:
        """The documents that rows name: the only way to their texts and kept columns.

        Those of the corpus, and after them what sources brought along that were written.
        """
        return Documents(self.artifact.ancestor("index.documents"), *self._written)

    @cached_property
    def corpus(self) -> Documents:
        """The documents that were searched."""
        return Documents(self.artifact.ancestor("index.documents"))

    @property
    def written(self) -> list[str]:
        """Sources whose documents were written, in table order."""
        return schemas.written_names(self._schema)

    # --- vectors ----------------------------------------------------------------------------------

    @property
    def dense(self) -> list[str]:
        """Sources that have vectors in the index."""
        return self.retrieved.roles(VECTORS)

    def vectors(self, name: str) -> Artifact:
        """The vectors that the candidates were retrieved with.

        Raises:
            UsageError: there are none of this name.
        """
        if name not in self.dense:
            raise UsageError(
                f"no vectors '{name}' among the sources of the candidates",
                hint=did_you_mean(name, self.dense),
            )
        return self.retrieved.input(name)

    def unit_vectors(self, name: str) -> Artifact:
        """Likewise, of length 1.

        Raises:
            UsageError: there are none of this name, or they are of other lengths.
        """
        vectors = self.vectors(name)
        if not normalised(vectors):
            raise UsageError(
                f"the vectors '{name}' are not of length 1, so their products are no cosines",
                hint="Index again with --normalize.",
            )
        return vectors


def open_candidates(
    path: str | Path, stages: Iterable[str] = STAGES, *, purpose: str = "the candidates"
) -> Candidates:
    """Open the table at ``path``.

    Args:
        path: the artifact's folder.
        stages: the stages whose artifacts are acceptable.
        purpose: what it is wanted for, for messages.

    Raises:
        NegmineError: see :func:`negmine.table.artifacts.open_artifact`.
    """
    return Candidates(open_artifact(path, stages, purpose=purpose))


def normalised(vectors: Artifact) -> bool:
    """Whether stored vectors have length one."""
    return bool(vectors.params.get("normalize", False))
