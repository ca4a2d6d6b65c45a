"""Which written texts are new: compared with the corpus, the query, its positives, each other.

By what the identity guard of ``filter`` compares: the normalised text, and MinHash where a near
copy counts as one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pyarrow as pa

from negmine.dedup import copies, minhash, signatures
from negmine.dedup.normal import normalise
from negmine.dedup.signatures import Signatures
from negmine.stages.write.cases import Case
from negmine.stages.write.drafts import Draft
from negmine.table.documents import Documents, joined
from negmine.table.draws import digests

#: Why a text is left out, in the order in which it is looked at.
EMPTY, QUERY, CORPUS, REPEATED, NEAR_POSITIVE, NEAR_REPEATED = (
    *("empty", "query_text", "in_corpus", "repeated", "near_positive", "near_repeated"),
)
#: Likewise of queries and instructions: it is another query of the set, or what was given.
KNOWN_QUERY, GIVEN = "known_query", "given_instruction"
REASONS = (EMPTY, QUERY, GIVEN, CORPUS, KNOWN_QUERY, REPEATED, NEAR_POSITIVE, NEAR_REPEATED)


class Distinct:
    """What written texts are compared with.

    What is held: 16 bytes a document of the corpus.

    Args:
        documents: the corpus, and what was written before.
        near: similarity from which a near copy of a positive, or of another text for the query, is
            left out; None where only what is the same is.
    """

    def __init__(self, documents: Documents, near: float | None) -> None:
        self._corpus = Signatures(documents).contents()
        self._near = near

    def reasons(self, drafts: Sequence[Draft], cases: Sequence[Case]) -> list[str | None]:
        """Of each text why it is left out; None where it stays.

        Args:
            drafts: texts of whole queries, the query's together.
            cases: these queries with their positives.
        """
        if not drafts:
            return []
        found: np.ndarray = np.full(len(drafts), None, dtype=object)
        made = _described([(draft.title, draft.text) for draft in drafts])
        query = _numbers([draft.case.qid for draft in drafts])
        content, untitled = made["content"], made["untitled"]
        asked = digests(normalise(pa.array([d.case.query for d in drafts], pa.string())).texts)
        _mark(found, made["size"] == 0, EMPTY)
        _mark(found, (content == asked) | (untitled == asked), QUERY)
        _mark(found, np.isin(content, self._corpus) | np.isin(untitled, self._corpus), CORPUS)
        open_ = np.flatnonzero(found == None)  # noqa: E711 (elementwise)
        keys = minhash.pair_keys(query[open_], content[open_])
        again = np.ones(len(open_), dtype=bool)
        again[np.unique(keys, return_index=True)[1]] = False
        found[open_[again]] = REPEATED
        if self._near is not None:
            self._mark_near(found, drafts, cases, made, query, self._near)
        return found.tolist()

    def _mark_near(
        self,
        found: np.ndarray,
        drafts: Sequence[Draft],
        cases: Sequence[Case],
        made: np.ndarray,
        query: np.ndarray,
        near: float,
    ) -> None:
        """Mark near copies of positives, and of texts of the query that come before."""
        number = {draft.case.qid: int(one) for draft, one in zip(drafts, query, strict=True)}
        positives = [case for case in cases if case.docid and case.qid in number]
        known = _described([(case.title, case.text) for case in positives])
        owner = np.array([number[case.qid] for case in positives], dtype=np.int64)
        every = np.concatenate([made, known]) if len(known) else made
        of = np.concatenate([query, owner])
        positive = np.arange(len(every)) >= len(made)
        order = np.argsort(of, kind="stable")
        hit = np.zeros(len(every), dtype=bool)
        hit[order] = minhash.near_duplicate(
            of[order], positive[order], order, every["size"], every["signature"], near
        )
        _mark(found, hit[: len(made)], NEAR_POSITIVE)
        bands = copies.bands(made["signature"])
        candidate = np.array([reason is None for reason in found])
        rows = np.arange(len(made))
        group = copies.groups(*(query, candidate, rows, made["signature"], bands, near))
        _mark(found, copies.repeats(group, np.where(candidate, rows + 1, 0)), NEAR_REPEATED)


class DistinctQueries:
    """What written queries are compared with: their own, all that are known, and each other.

    What is held: 8 bytes a query, and some 100 a text that was written.

    Args:
        known: texts of all queries, some at a time.
    """

    def __init__(self, known: Iterable[pa.Array]) -> None:
        found = [np.empty(0, np.uint64), *(_contents(texts) for texts in known)]
        self._known = np.unique(np.concatenate(found))
        self._seen: set[tuple[str, int]] = set()

    def reasons(self, drafts: Sequence[Draft], cases: Sequence[Case]) -> list[str | None]:
        """Of each text why it is left out; None where it stays.

        A query may be written for several documents, but once for each.
        """
        own = _short(drafts, lambda draft: draft.case.query)
        made = _short(drafts, lambda draft: draft.text)
        known = np.isin(made, self._known)
        found = _first_of(drafts, made, self._seen, lambda draft: draft.case.docid)
        found = [KNOWN_QUERY if at else one for at, one in zip(known, found, strict=True)]
        return [QUERY if at else one for at, one in zip(own == made, found, strict=True)]


class DistinctInstructions:
    """What written instructions are compared with: the given one, and others of their case."""

    def reasons(self, drafts: Sequence[Draft], cases: Sequence[Case]) -> list[str | None]:
        """Of each text why it is left out; None where it stays."""
        given = _short(drafts, lambda draft: draft.case.instruction)
        made = _short(drafts, lambda draft: draft.text)
        found = _first_of(drafts, made, set(), lambda draft: " ".join(draft.case.key))
        return [GIVEN if at else one for at, one in zip(given == made, found, strict=True)]


def _contents(texts: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """64 bits of each text's normal form."""
    plain = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    return digests(normalise(plain).texts)


def _short(drafts: Sequence[Draft], said: Callable[[Draft], str]) -> np.ndarray:
    return _contents(pa.array([said(draft) for draft in drafts], pa.string()))


def _first_of(
    drafts: Sequence[Draft],
    made: np.ndarray,
    seen: set[tuple[str, int]],
    of: Callable[[Draft], str],
) -> list[str | None]:
    """Of each text whether it is a repetition of one for the same thing; takes up what is new."""
    found: list[str | None] = []
    for draft, content in zip(drafts, made.tolist(), strict=True):
        key = (of(draft), content)
        found.append(REPEATED if key in seen else None)
        seen.add(key)
    return found


def _mark(found: np.ndarray, rows: np.ndarray, reason: str) -> None:
    found[rows & np.array([one is None for one in found])] = reason


def _described(passages: Sequence[tuple[str, str]]) -> np.ndarray:
    """The features of (title, text)."""
    titles = pa.array([title for title, _ in passages], pa.string())
    return signatures.describe(pa.array([joined(*one) for one in passages], pa.string()), titles)


def _numbers(qids: Sequence[str]) -> np.ndarray:
    """Numbers of ids, ascending where equal ones are together."""
    known: dict[str, int] = {}
    return np.array([known.setdefault(qid, len(known)) for qid in qids], dtype=np.int64)
