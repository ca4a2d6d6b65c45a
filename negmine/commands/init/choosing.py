"""One input per role, out of what files seem to hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import pyarrow.compute as pc

from negmine import log
from negmine.errors import UsageError
from negmine.inputs.columns import shell_word
from negmine.inputs.dispatch import sample
from negmine.inputs.guessing import IDS, Guess, UnclearError, further_texts


def one_per_role(guesses: Iterable[Guess]) -> dict[str, Guess]:
    """One input per role: pairs (with a corpus), or corpus, queries and judgements.

    Raises:
        UsageError: something is missing.
    """
    guesses = _told_apart(list(guesses))
    chosen: dict[str, Guess] = {}
    for guess in guesses:
        first = chosen.get(guess.role)
        if first is not None and _may_join(first, guess):
            chosen[guess.role] = replace(first, also=(*first.also, guess.spec))
        elif first is not None:
            log.event(f"left out: {guess.spec} ({guess.role} too; name only the one you mean)")
        else:
            chosen[guess.role] = guess
    complete = {"corpus", "queries", "qrels"} <= set(chosen)
    if complete and "pairs" in chosen:
        log.event(f"left out: {chosen.pop('pairs').spec} (queries and judgements are there)")
    elif "pairs" in chosen:
        ids = chosen["pairs"].ids
        missing = [role for role in ("corpus", "queries") if ids and role not in chosen]
        if missing:
            raise UsageError(
                f"no {' and no '.join(missing)}",
                where=f"{chosen['pairs'].spec} holds ids",
                hint="Name the files with their texts too.",
            )
        brought = ("qrels", "run") if ids else ("queries", "qrels", "run")
        for role in brought:
            if role in chosen:
                log.event(f"left out: {chosen.pop(role).spec} (pairs bring their own {role})")
    elif not complete:
        missing = [role for role in ("corpus", "queries", "qrels") if role not in chosen]
        found = ", ".join(f"{guess.spec} is {role}" for role, guess in chosen.items())
        raise UsageError(
            f"no {' and no '.join(missing)}",
            where=found or None,
            hint="Mining needs (query, positive) pairs, or a corpus, queries and qrels: "
            f"negmine init corpus.jsonl queries.jsonl qrels.tsv{_or_pairs(chosen)}",
        )
    return chosen


def _or_pairs(chosen: dict[str, Guess]) -> str:
    """What to say of a file of queries alone that has texts which may be their positives."""
    if list(chosen) != ["queries"]:
        return ""
    spec = chosen["queries"].spec
    texts = further_texts(spec)
    if not texts:
        return ""
    asked = shell_word(f"positive={texts[0]}")
    return (
        f"\nIf {spec} holds pairs, name the positive (one of {', '.join(texts)}): "
        f"negmine init {shell_word(spec)} --column {asked}"
    )


def _may_join(first: Guess, second: Guess) -> bool:
    """Whether both were meant: the user named them, and they have the same columns."""
    both = first.named and second.named and first.role != "run"
    return both and first.columns == second.columns


def _told_apart(guesses: list[Guess]) -> list[Guess]:
    """Say of files of ids and texts whether they hold documents or queries.

    Raises:
        UnclearError: neither the other inputs nor the judgements' ids tell it.
    """
    either = [guess for guess in guesses if not guess.sure]
    result = [guess for guess in guesses if guess.sure]
    roles = {guess.role for guess in result}
    if not either:
        return result
    missing = {"corpus", "queries"} - roles
    if any(guess.role == "pairs" and not guess.ids for guess in result):
        missing -= {"queries"}
    if len(missing) == 1:
        (role,) = missing
        why = f"the {role} that is missing"
        return [*result, *(replace(guess, role=role, why=why) for guess in either)]
    judged = next((guess for guess in result if guess.role == "qrels"), None)
    if len(either) == 2 and judged is not None and not roles & {"corpus", "queries"}:
        queries = _asking(either, judged)
        if queries is not None:
            why = f"the judgements of {judged.spec} name its ids"
            return [
                *result,
                replace(either[queries], role="queries", why=f"{why} as queries"),
                replace(either[1 - queries], role="corpus", why=f"{why} as documents"),
            ]
    raise UnclearError(
        "neither names nor ids tell which are documents and which are queries: "
        f"{', '.join(guess.spec for guess in either)}",
        hint="Call them so: negmine init corpus.jsonl queries.jsonl qrels.tsv",
    )


def _asking(either: Sequence[Guess], judged: Guess) -> int | None:
    """Which of two files holds the queries, by the ids that are judged; None where both may."""
    pairs = sample("qrels", judged.spec, judged.columns, IDS).table
    ids = [sample("queries", guess.spec, guess.columns, IDS).table["qid"] for guess in either]

    def named(column: str) -> list[bool]:
        known = pairs[column].unique()
        return [bool(pc.any(pc.is_in(some, value_set=known)).as_py()) for some in ids]

    asked, found = named("qid"), named("docid")
    for first in (0, 1):
        told = (asked[first] and not asked[1 - first]) or (found[1 - first] and not found[first])
        against = (asked[1 - first] and not asked[first]) or (found[first] and not found[1 - first])
        if told and not against:
            return first
    return None
