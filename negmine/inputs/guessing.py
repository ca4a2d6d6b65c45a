"""What a file or folder of a user seems to hold: corpus, queries, judgements or pairs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow.compute as pc

from negmine import log
from negmine.errors import (
    InvalidDataError,
    MissingInputError,
    NegmineError,
    UsageError,
    did_you_mean,
)
from negmine.inputs import catalogues, saved
from negmine.inputs.chunks import NoColumnError
from negmine.inputs.columns import shell_word
from negmine.inputs.dispatch import Sample, header, sample
from negmine.inputs.examples import sample_examples
from negmine.inputs.folders import contents
from negmine.inputs.keyed import is_bundle
from negmine.inputs.layouts import SeveralError, preferred, split_name
from negmine.inputs.problems import UnclearSetError
from negmine.inputs.specs import matching, opened
from negmine.inputs.suspects import names_another
from negmine.inputs.trial import NO_POSITIVES, Counted, try_out

_ROLES = ("pairs", "qrels", "run", "corpus", "queries")
#: The inputs that a collection holds.
_COLLECTION = ("corpus", "queries", "qrels")
_QUERY_NAME = re.compile(r"quer|topic|question", re.IGNORECASE)
_CORPUS_NAME = re.compile(r"corpus|collection|doc|passage", re.IGNORECASE)
#: Ids that are looked at to tell documents from queries.
IDS = 8192
#: What the splits of a data set are called.
_SPLITS = ("train", "training", "dev", "validation", "valid", "val", "test", "eval")
#: Files of a pattern that are looked at.
_LOOKED_AT = 16
#: More words than these are a text, not a column's name.
_NAME_WORDS = 4
#: A column name; what looks different is a first record.
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
        counted: the positives of pairs or judgements, where they were read.
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
    counted: Counted | None = None

    @property
    def specs(self) -> tuple[str, ...]:
        """All inputs of the role."""
        return (self.spec, *self.also)


def tried(guess: Guess) -> Guess:
    """Read the beginning as a run would; labels that the run is to be told about are a doubt."""
    try:
        counted = try_out(guess.role, guess.specs, guess.columns)
        if counted is None or counted.positives or guess.role != "pairs":
            return replace(guess, counted=counted)
        where, doubt = guess.spec, f"no record has a positive. {NO_POSITIVES}"
    except UnclearSetError as error:
        where = error.where or guess.spec
        doubt = " ".join(filter(None, (f"{error.what}.", error.hint)))
    log.warn([f"{where}: before it runs, settle this: {doubt}"])
    return replace(guess, doubts=(*guess.doubts, doubt))


def accounted(guess: Guess) -> Guess:
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


def mapping(entries: Sequence[str]) -> dict[str, str]:
    """``--column`` as target to source.

    Raises:
        UsageError: an entry of another form, or a target named twice.
    """
    found = {}
    for entry in entries:
        target, equals, source = entry.removeprefix("pairs.").partition("=")
        if not (target and equals and source):
            raise UsageError(
                f"--column {entry!r} is not TARGET=SOURCE", hint="For example: --column query=q"
            )
        if target in found:
            raise UsageError(f"--column names '{target}' twice", hint="Name it once.")
        found[target] = source
    return found


def refuse_absent(specs: Sequence[str], columns: Mapping[str, str]) -> None:
    """Refuse a column that the user names and no input has: a slip would change nothing.

    Raises:
        UsageError: there is one.
    """
    if not columns:
        return
    known = list(dict.fromkeys(name for spec in specs for name in _header(spec)))
    for target, source in columns.items():
        # Numbers, and fields inside others, are in no header.
        if known and source not in known and not source.startswith("#") and "." not in source:
            raise UsageError(
                f"--column {target}={source}: no input has a column '{source}'",
                hint=did_you_mean(source, known),
            )


def look(spec: str, columns: Mapping[str, str]) -> list[Guess]:
    """What a file, a folder or an id seems to hold."""
    if spec.startswith(catalogues.PREFIX):
        return [
            Guess(role, spec, "the collection has it")
            for role in _COLLECTION
            if _fitting(role, spec) is not None
        ]
    place, selection = opened(spec)
    if selection is not None or not place.is_dir():
        several = matching(spec)
        if len(several) > 1:
            return _pattern(spec, several, columns)
        names = _header(spec)
        if is_bundle(names):
            why = "one object holds all three"
            return [Guess(role, spec, why, named=True) for role in _COLLECTION]
        guess = _file(spec, columns)
        if guess is None:
            if not names:
                # Where it cannot be read at all, this says why.
                sample("pairs", spec, {})
            if _holds_nothing(spec):
                raise InvalidDataError(
                    "no record in this file",
                    where=place.name,
                    hint="It is empty, or has a header line alone: is it the right one, and whole?",
                )
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
        beir = [_of_folder(role, spec) for role in _COLLECTION]
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


def _holds_nothing(spec: str) -> bool:
    """Whether a file that can be read has no record, good or bad."""
    try:
        return sample("pairs", spec, {}).seen == 0
    except NegmineError:
        return False


def _pattern(spec: str, found: Sequence[str], columns: Mapping[str, str]) -> list[Guess]:
    """A pattern whose files are all alike is one input; else each file is looked at."""
    step = max(1, len(found) // _LOOKED_AT)
    guesses = [guess for one in found[::step] for guess in look(one, columns)]
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


def further_texts(spec: str) -> list[str]:
    """Columns of several words beside the query's, the longest first."""
    columns = _header(spec)
    read = sample("queries", spec, {}).sources.values()
    lengths, words = _texts_of(spec, [name for name in columns if name not in read])
    likely = [name for name in lengths if name in words and not names_another(name)]
    return sorted(likely, key=lambda name: -lengths[name])


def _texts_of(spec: str, columns: list[str]) -> tuple[dict[str, float], set[str]]:
    """The mean length of each column of texts, and those that hold more than a word."""
    lengths: dict[str, float] = {}
    words: set[str] = set()
    for name in columns:
        try:
            found = sample("pairs", spec, {"query": name, "positive": name})
        except NegmineError:
            continue
        if found.table.num_rows:
            lengths[name] = _mean(found, "positive")
            if pc.any(pc.match_substring(found.table.column("positive"), " ")).as_py():
                words.add(name)
    return lengths, words


def _unknown_names(spec: str) -> Guess | None:
    """A table whose columns have other names than those known: told by what they hold."""
    columns = _header(spec)
    why = "the names are not known ones"
    named = any(_COLUMN_NAME.fullmatch(name) for name in columns)
    if columns and (not named or any(len(name.split()) > _NAME_WORDS for name in columns)):
        columns = [f"#{number}" for number in range(1, len(columns) + 1)]
        why = "the first line is a record, so columns go by number"
    lengths, words = _texts_of(spec, columns)
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
        first, second = _likely(texts, words, asking)
        raise UnclearError(
            "which of its texts is the query and which is the positive is not told by names: "
            f"{', '.join(texts)}",
            where=spec,
            hint=f"Say it: negmine init {shell_word(spec)} --column {shell_word(f'query={first}')} "
            f"--column {shell_word(f'positive={second}')}, or the other way round.",
        )
    (query,) = asking
    (positive,) = (name for name in texts if name != query)
    return Guess(
        "pairs",
        spec,
        f"query from '{query}', positive from '{positive}': {why}; change column if not so",
        columns={"query": query, "positive": positive},
    )


def _likely(texts: list[str], words: set[str], asking: list[str]) -> tuple[str, str]:
    """The two of several texts that most likely are a query and its positive, to advise them.

    What is called a label, a score or negatives is neither, and what has one word alone is an id or
    a category, where enough is left.
    """
    likely = [name for name in texts if not names_another(name)]
    likely = likely if len(likely) > 1 else texts
    several = [name for name in likely if name in words]
    if len(several) == 1:
        # What its positives are is no column of texts, or none that could be one.
        return several[0], "COLUMN"
    likely = several or likely
    query = next((name for name in likely if name in asking), likely[0])
    return query, next(name for name in likely if name != query)


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
