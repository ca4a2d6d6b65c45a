"""A real language model behind a real server: SmolLM2-135M judges at chance, and is found out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Invoke, require_packages
from tests.scorers import judged
from tests.servers.llama import MODEL, PACKAGES, llama

pytestmark = pytest.mark.real
#: Short, and without a second order of the texts: every call takes a second.
PROMPT = """
texts = "Query: {query}\\nDocument: {document}"
ask = "Is the document relevant? Answer yes or no."
yes = ["yes"]
no = ["no"]
"""


def test_a_model_at_chance_is_found_out(tmp_path: Path, invoke: Invoke) -> None:
    require_packages(*PACKAGES)
    candidates = judged.make_candidates(tmp_path, invoke)
    prompt = tmp_path / "short.toml"
    prompt.write_text(PROMPT)
    with llama() as url:
        command = ["rerank", candidates, "--scorer", f"judge=llm:{MODEL}@{url}"]
        command += ["--prompt-file", prompt, "--examine", 8, "--limit", 1]
        refused = invoke(*command, "-o", tmp_path / "scored")
        assert refused.exit_code == 5, refused.output
        assert "no better than chance on 8 known positives" in refused.stderr
        # Believed anyway: the scores are log-probabilities', and say so.
        trusted = invoke(*command, "--trust-anyway", "-o", tmp_path / "scored")
        assert trusted.exit_code == 0, trusted.output
    described = judged.manifest_of(tmp_path / "scored")["scorers"]["judge"]
    assert described["judged_by"] == "logprobs"
    # The examination's answers were there already.
    assert described["from_store"] >= 16
    rows = judged.rows_of(tmp_path / "scored")
    assert all(0 < row["mass_judge"] <= 1.001 for row in rows if row["mass_judge"] is not None)
