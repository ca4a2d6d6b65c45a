"""Unread columns that would change what an input means, told by their names and their values.

What a column is called says what it is for in any spelling: ``hardNegatives``, ``neg_3``,
``is-relevant``. What it holds is looked at only where that is sure: whole numbers of a small range,
fractions and booleans beside a pair are labels or scores whatever they are called, and so is any
unread column of judgements that have no grade. Texts are never judged by their length.

Of a corpus nearly all such columns are plain metadata (the language, score or label of a document
changes neither what is searched nor what is known), so of it only negatives are asked about, which
no corpus has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from negmine.errors import InvalidDataError
from negmine.inputs.columns import Columns, shell_word, short, words_of
from negmine.inputs.kinds import PAIRS, Input
from negmine.inputs.label_words import label_number

#: The first values of a column, however few.
Look = Callable[[str], Sequence[Any]]
#: Values that are looked at.
LOOKED_AT = 200
#: Whole numbers from here to there may be grades: more than any scale has, fewer than ids.
_GRADES = range(-4, 11)
#: Different words that a column of labels may have.
_FEW = 8
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_BOOLEAN = {"true", "false"}


@dataclass(frozen=True)
class Role:
    """What an unread column seems to be for.

    Attributes:
        name: in words.
        words: whole words of a name that say so.
        stems: parts of a name that say so wherever they stand.
        targets: the fields it may be meant for, where the input has one of them.
        advice: what else settles it.
    """

    name: str
    words: frozenset[str]
    stems: tuple[str, ...]
    targets: tuple[str, ...]
    advice: str = ""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _role(
    name: str, words: str, stems: str = "", targets: tuple[str, ...] = (), advice: str = ""
) -> Role:
    return Role(name, _words(words), tuple(stems.split()), targets, advice)


NEGATIVES = _role(
    "negatives",
    "neg negs hn hns distractor distractors rejected downvoted wrong incorrect bad nonrelevant",
    "negativ irrelevan distractor",
    ("negative", "negatives"),
)
GRADE = _role(
    "a label or grade",
    "label labels grade grades graded rel rels qrel rating ratings gold duplicate entailment "
    "match matches class",
    "label relevan judgment judgement duplicate",
    ("grade", "label"),
)
SCORE = _role(
    "a score",
    "score scores sim similarity logit logits prob probs probability confidence weight weights "
    "distance",
    "score similarit",
    ("score", "scores", "grade", "label"),
)
INSTRUCTION = _role(
    "an instruction",
    "instruction instructions instruct prompt prompts",
    "instruct",
    ("instruction", "prompt"),
    "One text before every query is --query-prompt's.",
)
LANGUAGE = _role(
    "the language",
    "lang langs language languages locale",
    "languag",
    ("language",),
    "Texts of all languages are mined together; for one of them give a file of its own.",
)
ANSWERS = _role(
    "answers",
    "answer answers",
    "answer",
    ("answers", "answer"),
    "retrieve --keep NAME takes them for filter --answers.",
)
#: In the order in which a name is tried.
ROLES = (NEGATIVES, ANSWERS, INSTRUCTION, LANGUAGE, GRADE, SCORE)
_PASSAGE = _role(
    "a further text of the passage",
    "context contexts ctx ctxs passage passages document documents doc docs pos positive positives",
    "",
    ("positive",),
)
_NO_GRADE = Role("the grade", frozenset(), (), ("grade",), "Without one every judgement counts 1.")
_TEXTS = Role("a list: negatives?", frozenset(), (), NEGATIVES.targets)

#: Roles that are asked about, by kind of input. Of the other kinds columns are only told.
_ASKED: dict[str, tuple[Role, ...]] = {
    "corpus": (NEGATIVES,),
    "queries": ROLES,
    "qrels": ROLES,
    "pairs": (*ROLES, _PASSAGE),
}
#: What makes more of pairs, and is named like any field.
_FIELDS_OF_SETS = ("negative", "label", "score")
#: Columns of judgements that are no grade whatever they hold.
_NO_GRADES = _words("iteration iter q0 0 url index unnamed metadata")
_IDS = _words("id ids idx index rank row rowid number no nr unnamed offset start end")


@dataclass(frozen=True)
class Suspect:
    """An unread column that seems to matter.

    Attributes:
        column: its name.
        role: what it seems to be for.
        by: what says so.
    """

    column: str
    role: Role
    by: str


def settle(
    kind: Input,
    path: str,
    header: Iterable[str],
    sources: Mapping[str, str],
    columns: Columns,
    look: Look,
    hint: str = "",
) -> None:
    """Account for every column of a file, and refuse it where an unread one seems to matter.

    Args:
        kind: what is read.
        path: the file, for messages.
        header: all of its columns.
        sources: the column that each target is read from.
        columns: what the user said, with the account.
        look: the first values of a column.
        hint: further words for the message.

    Raises:
        InvalidDataError: a column that is neither read nor ignored has a name or values of a label,
            a grade, negatives, a score, an instruction, a language or answers.
    """
    taken = set(sources.values())
    unread = [name for name in dict.fromkeys(header) if name not in taken]
    columns.account.take(path, sources, unread)
    refuse(kind, path, unread, sources, columns, look, hint)


def refuse(
    kind: Input,
    path: str,
    unread: Iterable[str],
    sources: Mapping[str, str],
    columns: Columns,
    look: Look,
    hint: str = "",
) -> None:
    """Refuse a file where one of these columns seems to matter; see :func:`settle`."""
    found = [
        suspect
        for name in unread
        if name not in columns.ignored
        and (suspect := _suspect(kind, name, sources, columns, look)) is not None
    ]
    if not found:
        return
    named = ", ".join(f"'{short(suspect.column)}'" for suspect in found)
    what = f"column {named} is" if len(found) == 1 else f"columns {named} are"
    told = [_advice(kind, suspect, sources) for suspect in found]
    if not columns.strict:
        columns.account.suspects += told
        return
    raise InvalidDataError(
        f"{what} not read and may change what the data mean",
        where=path,
        hint="\n".join(told) + hint,
    )


def _suspect(
    kind: Input, name: str, sources: Mapping[str, str], columns: Columns, look: Look
) -> Suspect | None:
    """What an unread column seems to be, if that matters in this kind of input."""
    if (role := _by_name(kind, name)) is not None:
        return None if _settled(role, columns) else Suspect(name, role, "by its name")
    role = _by_content(kind, name, sources, look)
    by = "for want of another" if role is _NO_GRADE else "by its values"
    return None if role is None or _settled(role, columns) else Suspect(name, role, by)


def _settled(role: Role, columns: Columns) -> bool:
    """Whether the user has named the column of what this one might be."""
    return any(target in columns.named for target in role.targets)


def _by_name(kind: Input, name: str) -> Role | None:
    parts = words_of(name)
    folded = name.lower()
    for role in _ASKED.get(kind.name, ()):
        if role is _PASSAGE:
            # Not its id, title or address.
            says = bool(parts & role.words) and all(w in role.words or w.isdigit() for w in parts)
        else:
            says = bool(parts & role.words) or any(stem in folded for stem in role.stems)
        if says:
            return role
    if kind.name != "pairs":
        return None
    also = next((target.name for target in kind.targets if name in target.aliases), None)
    return None if also is None else Role("another name of a field", frozenset(), (), (also,))


def names_another(name: str) -> bool:
    """Whether a column beside pairs is called what neither a query nor a positive is."""
    return _by_name(PAIRS, name) in (NEGATIVES, GRADE, SCORE, LANGUAGE)


def _by_content(kind: Input, name: str, sources: Mapping[str, str], look: Look) -> Role | None:
    parts = words_of(name)
    if kind.name == "qrels" and "grade" not in sources:
        return None if parts & _NO_GRADES or not parts else _NO_GRADE
    if kind.name != "pairs" or parts & _IDS or not parts:
        return None
    values = [value for value in look(name)[:LOOKED_AT] if value is not None and value != ""]
    return _of_values(values)


def _of_values(values: Sequence[Any]) -> Role | None:
    """What values beside a pair seem to be; None for texts, ids, objects and the rows' numbers."""
    if not values:
        return None
    if all(isinstance(value, list | tuple) for value in values):
        return _TEXTS
    if all(isinstance(value, bool) or str(value).lower() in _BOOLEAN for value in values):
        return GRADE
    if any(isinstance(value, bool | list | tuple | dict) for value in values):
        return None
    if len(said := set(map(str, values))) <= _FEW and any(
        label_number(word) is not None for word in said
    ):
        return GRADE
    written = [str(value).strip() for value in values]
    if all(_INTEGER.fullmatch(value) for value in written):
        numbers = [int(value) for value in written]
        # 0 and 1 alone are no count of the rows yet.
        several = len(numbers) > 2 or not set(numbers) <= {0, 1}
        counted = several and all(b == a + 1 for a, b in pairwise(numbers))
        small = all(number in _GRADES for number in numbers)
        return GRADE if small and not counted else None
    return SCORE if all(_NUMBER.fullmatch(value) for value in written) else None


def _advice(kind: Input, suspect: Suspect, sources: Mapping[str, str]) -> str:
    """What a column seems to be, and the options that settle it."""
    name = short(suspect.column)
    names = [target.name for target in kind.targets]
    if kind.name == PAIRS.name:
        # A label or a score makes labelled pairs of those that have no negatives.
        plain = "positive" in sources and not any(one.startswith("negative") for one in sources)
        names += _FIELDS_OF_SETS if plain else _FIELDS_OF_SETS[:1]
    target = next((field for field in suspect.role.targets if field in names), None)
    told = f"'{name}': {suspect.role.name}, {suspect.by}."
    if target is not None and target in sources:
        told += f" ('{target}' is read from '{short(sources[target])}'.)"
    if target is not None:
        asked = shell_word(f"{kind.name}.{target}={name}")
        told += f" If it is: --column {asked}; if not:"
    else:
        told += " If it does not matter:"
    told += f" --ignore {shell_word(f'{kind.name}.{name}')}."
    return f"{told} {suspect.role.advice}".rstrip()
