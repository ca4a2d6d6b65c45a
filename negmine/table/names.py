"""Names of the candidates table's columns, and of an index's children."""

from __future__ import annotations

import re
from collections.abc import Collection

from negmine.errors import UsageError

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
#: Stage of an index's vectors, a row for each document: by it they are told from all else.
VECTORS = "index.vectors"
#: Stage of texts that were written: documents beside the corpus.
WRITTEN = "write"
#: The kind of written texts that are near a positive on purpose.
MINIMAL_PAIR = "minimal-pair"
#: The kind of written texts that are queries.
QUERY = "query"
#: The kept column of queries that tells what is asked for beside the query.
INSTRUCTION = "instruction"
#: The kept column of written documents: how each was made. Null in a corpus.
SYNTHETIC = "synthetic"
#: Columns that tell of likeness to a query's known positives begin so; no artifact holds them.
LIKENESS = "like_"
#: Not for users: sources that tell what is known, and what an index has of itself.
RESERVED = frozenset({"best", "documents", "given", "judged", "signatures"})
#: Column of a ledger: what a negative scored in the round in which it was chosen first.
FIRST_SCORE = "first_score"
#: Column of a ledger: which option changed the row's label.
RELABELLED_BY = "relabelled_by"
#: Scores that are learned while filtering: from the user's labels, and from other collections.
P_RELEVANT, P_PRIOR = "p_relevant", "p_prior"
LEARNED = (P_RELEVANT, P_PRIOR)

#: Sources that tell what is known already; their ranks are not a search's.
NOT_SEARCHED = frozenset({"given", "judged"})


def is_name(name: str) -> bool:
    """Whether ``name`` is spelt as a name of a column."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str, option: str, taken: Collection[str] = RESERVED) -> str:
    """``name`` if it can name a column.

    Args:
        name: what a user gives.
        option: where, for messages.
        taken: names that are not for users.

    Raises:
        UsageError: it holds anything but letters, digits and underscores, or is taken.
    """
    if not is_name(name):
        raise UsageError(
            f"{option}: '{name}' is no usable name",
            hint="Use a letter, then letters, digits or underscores (it becomes a column name).",
        )
    if name in taken:
        raise UsageError(f"{option}: the name '{name}' is reserved", hint="Choose another name.")
    return name


def rank_column(source: str) -> str:
    """Column with a source's retrieval rank."""
    return f"rank_{source}"


def score_column(name: str) -> str:
    """Column with a source's or scorer's score."""
    return f"score_{name}"


def scorer_column(column: str, name: str) -> str:
    """Column with what else a scorer says of a pair."""
    return f"{column}_{name}"


def cluster_column(source: str) -> str:
    """Column with the cluster of each row's document, as a source of clusters says it."""
    return scorer_column("cluster", source)


def vector_column(name: str) -> str:
    """Column, of no artifact, with the vector of each row's document."""
    return f"vector_{name}"


def meta_column(name: str) -> str:
    """Column of the documents with a kept column of the user's corpus."""
    return f"meta_{name}"


def likeness_column(kind: str, statistic: str) -> str:
    """Column, of no artifact, with the likeness to a query's known positives."""
    return f"{LIKENESS}{kind}_{statistic}"
