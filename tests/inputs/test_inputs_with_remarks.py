"""Lines of remarks before the header of a table, through the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.inputs.test_training_sets import TRUTH, check
from tests.training_sets import command, mined

REMARK = "# made by export.py, 3 rows"


def table(path: Path, before: str, sign: str = ",", names: str = "query positive negative") -> Path:
    records = [names.split(), *TRUTH]
    path.write_text(before + "".join(sign.join(record) + "\n" for record in records))
    return path


@pytest.mark.parametrize(
    ("name", "sign"), [("t.csv", ";"), ("t.csv", "|"), ("t.tsv", "\t"), ("t.txt.csv", "\t")]
)
@pytest.mark.parametrize(
    "before", [f"{REMARK}\n", f"{REMARK}\n#\n## a, b\n\n", f"{REMARK}\r\n"], ids=[1, 2, 3]
)
def test_remarks_before_a_header(tmp_path: Path, name: str, sign: str, before: str) -> None:
    check(mined(tmp_path, table(tmp_path / name, before, sign)))
    told = command("init", tmp_path / name, "-o", "-").stderr
    assert "the lines before the header are comments" in told


def test_a_header_of_unknown_names(tmp_path: Path) -> None:
    pairs = table(tmp_path / "t.csv", "# made by me\n", ";", "ask tell wrong")
    options = [
        part
        for entry in ("query=ask", "positive=tell", "negative=wrong")
        for part in ("--column", entry)
    ]
    check(mined(tmp_path, pairs, *options, index=options))


def test_places_are_those_of_the_file(tmp_path: Path) -> None:
    pairs = tmp_path / "t.csv"
    pairs.write_text("# made by me\nquery,positive\na,b\nc\n")
    result = command("index", "--pairs", pairs, "-o", tmp_path / "index")
    assert result.exit_code == 5
    assert "t.csv:4: 1 fields where the header has 2" in result.stderr


def test_a_record_that_begins_so_is_kept(tmp_path: Path) -> None:
    """Fields asked for by number: there is no header, and this is a text."""
    pairs = tmp_path / "t.tsv"
    pairs.write_text("# sort a list\tsorted(items) gives a list\n# reverse it\titems[::-1]\n")
    options = ["--column", "query=#1", "--column", "positive=#2"]
    seen = mined(tmp_path, pairs, *options, index=options)
    assert set(seen) == {"# sort a list", "# reverse it"}
