"""One truth in every layout and dialect, the short version of `scripts/fuzz_meaning.py`."""

from __future__ import annotations

import subprocess
import sys

import orjson

from tests.conftest import ROOT


def test_what_is_accepted_means_what_was_written() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "fuzz_meaning.py"), "--cases", "300"]
    done = subprocess.run(
        [*command, "--seed", "7"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout, done.stderr
    report = orjson.loads(done.stdout)
    assert report["failures"] == 0, report["first_failures"]
    assert report["cases"] == 300
    # Refusing is no way to be right: every layout is read, most of the files are.
    assert report["outcomes"]["right"] > 240
    assert all(found.get("right") for found in report["layouts"].values()), report["layouts"]
