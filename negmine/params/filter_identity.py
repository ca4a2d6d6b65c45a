"""The options of ``filter``'s rules that compare texts, ids, vectors and judgements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from negmine.params.option import opt


# A group of fields: FilterParams makes the methods.
@dataclass(frozen=True, init=False, repr=False, eq=False)
class IdentityOptions:
    """What is a positive, or the query itself, under another name."""

    headings: ClassVar[Mapping[str, str]] = {
        "own_document": "Guard (what is no negative, whatever it scores)",
    }

    own_document: Literal["auto", "id", "text", "off"] = opt(
        "auto",
        "Drop the document that a query was made of: by its id, or its text without the title; "
        "auto believes equal ids where texts agree, too.",
    )
    same_text: bool = opt(
        True,
        "Drop candidates whose text is a positive's of the query but for case, spacing and "
        "punctuation.",
        flags=("--same-text/--no-same-text",),
    )
    between_grades: bool = opt(
        True,
        "Drop candidates whose grade lies between retrieve's --negative-grade and --min-grade: "
        "judged neither relevant nor not.",
        flags=("--between-grades/--no-between-grades",),
    )
    query_text: bool = opt(
        True,
        "Drop candidates whose text, title included, is the query's own.",
        flags=("--query-text/--no-query-text",),
    )
    near_duplicates: bool = opt(
        True,
        "Drop near-duplicates of the query's positives (MinHash).",
        flags=("--near-duplicates/--no-near-duplicates",),
    )
    near_duplicate_at: float = opt(
        0.8,
        "Share of common word triples (without spaces, and in code, of runs of characters) that "
        "makes a near-duplicate.",
        metavar="JACCARD",
        above=0,
        maximum=1,
        instead="--no-near-duplicates switches the rule off.",
    )
    empty_texts: bool = opt(
        True,
        "Drop candidates without a letter, a digit or a symbol: empty ones, dots and dashes.",
        flags=("--empty-texts/--no-empty-texts",),
    )
    repeated_texts: bool = opt(
        True,
        "Of a query's candidates that are copies or near-copies of each other "
        "(--near-duplicate-at) take only the one that the sampler prefers.",
        flags=("--repeated-texts/--no-repeated-texts",),
    )
    near_duplicate_cosine: tuple[str, ...] = opt(
        (),
        "Drop candidates whose cosine with a positive of the query reaches this, by the index's "
        "vectors NAME (repeatable).",
        metavar="NAME=COSINE",
        minimum=-1,
        maximum=1,
    )
    same_cluster: tuple[str, ...] = opt(
        (),
        "Drop candidates that are in a cluster with a positive of the query, by the source NAME "
        "(retrieve --source NAME=clusters:ENCODER; repeatable).",
        metavar="NAME",
        later=True,
    )
    chunk_suffix: str | None = opt(
        None,
        "Drop chunks of a positive's document: what is left of a docid without this ending (a "
        "regular expression such as '#[0-9]+') names the document.",
        metavar="REGEX",
    )
    sibling_by: str | None = opt(
        None,
        "Drop candidates that share this column of the corpus (index --keep) with a positive of "
        "the query, such as the document that both are chunks of.",
        metavar="COLUMN",
    )
    duplicate_queries: bool = opt(
        True,
        "Drop the positives of near-duplicate queries (MinHash over words; without spaces, and in "
        "code, over runs of characters).",
        flags=("--duplicate-queries/--no-duplicate-queries",),
    )
    duplicate_query_at: float = opt(
        0.9,
        "Share of common words, or runs of characters, that makes two queries near-duplicates.",
        metavar="JACCARD",
        above=0,
        maximum=1,
        instead="--no-duplicate-queries switches the rule off.",
    )
    answers: str | None = opt(
        None,
        "Drop candidates whose text holds one of the query's answers, as DPR tells: a column kept "
        "of the queries (retrieve --keep).",
        metavar="COLUMN",
        later=True,
    )
    require_numbers: Literal["off", "asked", "all"] = opt(
        "off",
        "Drop candidates without a digit (APOLLO): of queries that hold one or ask for a number in "
        "English (asked), or of all.",
        later=True,
    )
    exclude: str | None = opt(
        None,
        "Never take these documents: a file with a docid per line, or qrels of an evaluation set.",
        metavar="PATH",
        path=True,
    )
