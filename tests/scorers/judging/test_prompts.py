"""Prompts: those that are shipped, and what a file may and may not say."""

from __future__ import annotations

from pathlib import Path

import pytest

from negmine.errors import InvalidDataError, MissingInputError, UsageError
from negmine.scorers.judging import prompts

SMALL = 'texts = "{query} | {document}"\nyes = ["yes"]\nno = ["no"]\n'


@pytest.mark.parametrize("name", prompts.shipped())
def test_what_is_shipped_shows_both_texts_once(name: str) -> None:
    prompt = prompts.load(name)
    assert prompt.language
    ways = [(False, False)]
    ways += [(False, True)] if prompt.can_swap(several=False) else []
    ways += [(True, False)] if prompt.can_grade(several=False) else []
    for graded, swapped in ways:
        said = prompt.asking("QUERY", "DOCUMENT", graded=graded, swapped=swapped)[-1]["content"]
        assert said.count("QUERY") == said.count("DOCUMENT") == 1
        assert (said.index("DOCUMENT") < said.index("QUERY")) == swapped
    if prompt.can_grade(several=True):
        for swapped in (False, True):
            many = prompt.asking_several("QUERY", ["ONE", "TWO"], swapped=swapped)[-1]["content"]
            assert many.index("ONE") < many.index("TWO")
            assert (many.index("TWO") < many.index("QUERY")) == swapped


def test_braces_of_a_text_are_the_texts_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(SMALL)
    said = prompts.load(str(path)).asking("{document}", '{"a": {}}', graded=False, swapped=False)
    assert said == [{"role": "user", "content": '{document} | {"a": {}}'}]


def test_its_content_counts_and_not_its_name(tmp_path: Path) -> None:
    first, second, other = (tmp_path / name for name in ("a.toml", "b.toml", "c.toml"))
    first.write_text(SMALL)
    second.write_text("# a remark\n" + SMALL)
    other.write_text(SMALL.replace("|", "-"))
    digests = [prompts.load(str(path)).digest for path in (first, second, other)]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ("text = 'x'\n" + SMALL, "a prompt has no key 'text'"),
        (SMALL.replace('yes = ["yes"]\n', ""), "the prompt has no 'yes'"),
        (SMALL.replace("{document}", ""), "'texts' has no place for the document"),
        (SMALL.replace('["no"]', '["No", "YES"]'), "among the words of 'yes' and of 'no'"),
        (SMALL.replace('["no"]', '"no"'), "'no' must be a list of words"),
        (SMALL + "ask = 3", "'ask' must be a string"),
        ("texts = ", "not a TOML file"),
    ],
)
def test_what_is_no_prompt_is_refused(tmp_path: Path, changed: str, what: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(changed)
    with pytest.raises(InvalidDataError) as error:
        prompts.load(str(path))
    assert what in str(error.value)
    assert str(path) in str(error.value)


def test_no_such_prompt() -> None:
    with pytest.raises(MissingInputError, match="zh"):
        prompts.load("zhh")


def test_a_prompt_without_grades_cannot_ask_for_them(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(SMALL)
    with pytest.raises(UsageError, match="the prompt has no 'grade'"):
        prompts.load(str(path)).check_grades(several=False)
    with pytest.raises(UsageError, match="the prompt has no 'several'"):
        prompts.load(str(path)).check_grades(several=True)
