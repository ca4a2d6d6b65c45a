"""Sources that ask an encoder of the index: whose options hold, and whose code runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chains import add_columns, call, make_data
from tests.conftest import Invoke

SOURCES = ("neighbours:tiny/query", "clusters:tiny", "metadata:kind/tiny")


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory, tiny_bi: Path) -> Path:
    """An index that was made with the model's own code trusted."""
    folder = tmp_path_factory.mktemp("trusted")
    data = make_data(folder / "data")
    add_columns(data)
    code, said = call(
        *("index", "--corpus", data, "--no-bm25", "--no-signatures", "--keep", "kind"),
        *("--encoder", f"tiny={tiny_bi}", "--clusters", 4, "--trust-remote-code"),
        *("-o", folder / "index"),
    )
    assert code == 0, said
    return folder


@pytest.mark.parametrize("source", SOURCES)
def test_an_encoder_s_code_is_trusted_again_or_refused(
    trusted: Path, tmp_path: Path, invoke: Invoke, source: str
) -> None:
    data = trusted / "data"
    command = [
        *("retrieve", trusted / "index", "--queries", data, "--qrels", data / "qrels.tsv"),
        *("--source", f"one={source}", "-k", 5, "-o", tmp_path / "c"),
    ]
    refused = invoke(*command)
    assert refused.exit_code == 2, refused.output
    assert "the vectors 'tiny' were made with --trust-remote-code" in refused.stderr
    assert not (tmp_path / "c").exists()
    done = invoke(*command, "--trust-remote-code")
    assert done.exit_code == 0, done.output
