"""What lies behind a table: its sources' vectors."""

from __future__ import annotations

from negmine.errors import UsageError, did_you_mean
from negmine.table.artifacts.reading import Artifact
from negmine.table.names import ANN_PREFIX

# --- stored vectors -----------------------------------------------------------------------------


def dense_sources(source: Artifact) -> list[str]:
    """Sources of the candidates that have vectors in the index."""
    inputs = source.ancestor("retrieve").manifest["inputs"]
    known = [role for role in inputs if role not in ("documents", "bm25", "queries", "qrels")]
    known = [role for role in known if not role.startswith(ANN_PREFIX)]
    return [role for role in known if "stage" in inputs[role]]


def vectors_of(source: Artifact, name: str) -> Artifact:
    """The vectors that the candidates were retrieved with.

    Raises:
        UsageError: there are none of this name.
    """
    known = dense_sources(source)
    if name not in known:
        raise UsageError(
            f"no vectors '{name}' among the sources of the candidates",
            hint=did_you_mean(name, known),
        )
    return source.ancestor("retrieve").input(name)


def unit_vectors_of(source: Artifact, name: str) -> Artifact:
    """Likewise, of length 1.

    Raises:
        UsageError: there are none of this name, or they are of other lengths.
    """
    vectors = vectors_of(source, name)
    if not normalised(vectors):
        raise UsageError(
            f"the vectors '{name}' are not of length 1, so their products are no cosines",
            hint="Index again with --normalize.",
        )
    return vectors


def normalised(vectors: Artifact) -> bool:
    """Whether stored vectors have length one."""
    return bool(vectors.manifest["params"].get("normalize", False))
