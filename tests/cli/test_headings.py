"""Options are told under headings, those that matter most first, in a pipe too."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from negmine.params import AuditParams, FilterParams, ReportParams
from negmine.params.option import MOST_USED, headings_of
from negmine.stages.stage import STAGES
from tests.conftest import Invoke, run_cli

CLASSES = {name: stage.params for name, stage in STAGES.items()}
CLASSES |= {"audit": AuditParams, "report": ReportParams}


def sections(text: str) -> dict[str, str]:
    """What stands under each heading of a help text."""
    found = re.split(r"^(\S[^\n]*):\n", text, flags=re.MULTILINE)
    return dict(zip(found[1::2], found[2::2], strict=True))


@pytest.mark.parametrize("command", CLASSES)
def test_every_option_stands_under_its_heading_once(invoke: Invoke, command: str) -> None:
    # The example at the end may be broken before an option.
    told = sections(invoke(command, "--help").stdout.split("Example:")[0])
    for field in fields(CLASSES[command]):
        heading = headings_of(CLASSES[command])[field.name]
        assert heading != "Options", field.name
        flags = field.metadata["flags"] or (f"--{field.name.replace('_', '-')}",)
        flag = re.escape(flags[0].split("/")[0])
        listed = re.compile(rf"^  (-\w, )?{flag}[ ,]", re.MULTILINE)
        assert [name for name, body in told.items() if listed.search(body)] == [heading]


def test_a_heading_names_an_option_that_is_there() -> None:
    for params_class in CLASSES.values():
        for base in params_class.__mro__:
            named = vars(base).get("headings", {})
            assert set(named) <= set(vars(base).get("__annotations__", {})), base


def test_what_matters_most_comes_first_in_a_pipe() -> None:
    text = run_cli("filter", "--help").stdout
    assert "\x1b" not in text
    told = list(sections(text))
    assert told[:2] == ["Arguments", MOST_USED]
    assert told[-1] == "Options"
    assert len(FilterParams.most_used) <= 8
