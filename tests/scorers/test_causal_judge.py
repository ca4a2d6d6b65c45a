"""A causal language model on this machine as a judge, against transformers by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from negmine.models.base import Settings
from negmine.models.causal_lm import load_causal_lm
from negmine.models.resolve import resolve
from negmine.scorers.causal import CausalJudge
from negmine.scorers.judging import prompts
from negmine.scorers.judging.prompts import Prompt
from tests.conftest import Invoke
from tests.scorers import judged

#: Whatever is said counts: a random model says yes and no as rarely as any word.
QUERIES = ["what is a heart", "gene therapy in mice"]
DOCUMENTS = ["The heart is a muscle.", "", "Mice were given a gene. " * 9, "No."]
PAIRS = np.array([(q, d) for q in range(2) for d in range(4)])


def wordy(model: Path) -> Prompt:
    """A prompt whose words are common enough for a random model to say them."""
    from transformers import AutoTokenizer

    vocabulary = sorted(AutoTokenizer.from_pretrained(model).get_vocab())
    words = [word for word in vocabulary if word.isalpha() and len(word) > 1]
    shipped = prompts.load("en")
    return Prompt(
        shipped.texts, tuple(words[::2]), tuple(words[1::2]), shipped.ask, system=shipped.system
    )


def by_hand(
    loaded: Any, tokenizer: Any, prompt: Prompt, query: str, document: str
) -> tuple[float, float]:
    """Probabilities of yes and of no as the next token, of one pair alone."""
    import torch

    messages = prompt.asking(query, document, graded=False, swapped=False)
    ids = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )["input_ids"]
    with torch.inference_mode():
        chance = torch.softmax(loaded(ids).logits[0, -1].double(), dim=-1)
    vocabulary = tokenizer.get_vocab()
    yes, no = (
        sum(float(chance[vocabulary[word]]) for word in words) for words in (prompt.yes, prompt.no)
    )
    return yes, no


def judge(model: Path, prompt: Prompt, **settings: Any) -> CausalJudge:
    settings = {"dtype": "float32", "batch_size": 3, "device": "cpu", **settings}
    return CausalJudge(load_causal_lm(resolve(str(model)), Settings(**settings)), prompt)


def test_a_score_is_the_share_of_yes_in_the_next_token(tiny_causal: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_causal)
    loaded = AutoModelForCausalLM.from_pretrained(tiny_causal).eval()
    prompt = wordy(tiny_causal)
    found = judge(tiny_causal, prompt).score(QUERIES, DOCUMENTS, PAIRS)
    assert found.known is not None
    assert found.known.all()
    assert len(set(found.score.round(4).tolist())) > 4
    for (q, d), score, mass in zip(
        PAIRS.tolist(), found.score, found.columns["mass"].to_pylist(), strict=True
    ):
        yes, no = by_hand(loaded, tokenizer, prompt, QUERIES[q], DOCUMENTS[d])
        assert score == pytest.approx(yes / (yes + no), abs=1e-3)
        assert mass == pytest.approx(yes + no, abs=1e-3)


def test_a_long_document_is_cut_at_its_end_and_the_question_stays(tiny_causal: Path) -> None:
    prompt = wordy(tiny_causal)
    long = "cell " * 900
    whole = judge(tiny_causal, prompt)
    [row] = whole._model.tokens(
        [whole._model.prompt(prompt.asking("heart", "", graded=False, swapped=False))]
    )
    room = 512 - len(row)
    found = whole.score(
        ["heart"], [long, "cell " * room, "cell " * (room - 9)], np.array([[0, 0], [0, 1], [0, 2]])
    )
    # What is beyond the model's length is not read: the first two are the same.
    assert found.score[0] == pytest.approx(found.score[1], abs=1e-4)
    assert found.score[0] != pytest.approx(found.score[2], abs=1e-4)
    # Nothing of a document fits where the question alone is too long: no verdict.
    short = judge(tiny_causal, prompt, max_length=20).score(["heart"], ["cell"], np.array([[0, 0]]))
    assert short.column().to_pylist() == [None]
    assert short.columns["reason"].to_pylist() == ["too_long"]


def test_little_said_of_yes_and_no_is_no_verdict(tiny_causal: Path) -> None:
    found = judge(tiny_causal, prompts.load("en")).score(QUERIES, DOCUMENTS, PAIRS)
    assert found.column().null_count == len(PAIRS)
    assert set(found.columns["reason"].to_pylist()) <= {"low_mass", "cannot_tell"}


def test_a_template_without_system_messages_gets_them_before_the_question(
    tiny_causal: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_causal, folder)
    template = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}"
        "{% endif %}[{{ m.role }}] {{ m.content }}{% endfor %}"
    )
    (folder / "chat_template.jinja").write_text(template)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    model = load_causal_lm(resolve(str(folder)), Settings(device="cpu"))
    said = model.prompt(
        [{"role": "system", "content": "Judge."}, {"role": "user", "content": "Is it?"}]
    )
    assert said == "[user] Judge.\n\nIs it?"


@pytest.mark.real
def test_from_the_command_line(
    tiny_causal: Path, tmp_path: Path, invoke: Invoke, tiny_cross: Path
) -> None:
    candidates = judged.make_candidates(tmp_path, invoke)
    words = wordy(tiny_causal)
    prompt = tmp_path / "prompt.toml"
    prompt.write_text(
        "\n".join(
            f"{name} = {json.dumps(getattr(words, name))}"
            for name in ("texts", "ask", "yes", "no", "system")
        )
        + f"\nswapped = {json.dumps(prompts.load('en').swapped)}\n"
    )
    command = ["rerank", candidates, "--scorer", f"judge=causal:{tiny_causal}"]
    command += ["--prompt-file", prompt, "--limit", 6, "--examine", 12]
    out = tmp_path / "scored"
    refused = invoke(*command, "-o", out)
    assert refused.exit_code == 5, refused.output
    assert "no better than chance" in refused.stderr
    assert not out.exists()
    done = invoke(*command, "--trust-anyway", "-o", out)
    assert done.exit_code == 0, done.output
    rows = judged.rows_of(out)
    assert all(0 <= row["score_judge"] <= 1 for row in rows)
    described = judged.manifest_of(out)["scorers"]["judge"]
    assert described["kind"] == "causal"
    assert "document first" in described["examination"]["otherwise"]
    dry = invoke(*command, "--trust-anyway", "--dry-run", "--json", "-o", tmp_path / "other")
    assert dry.exit_code == 0, dry.output
    [stage] = json.loads(dry.stdout)["stages"]
    assert stage["tokens"] > 1000
    for scorer, option, what in (
        (f"judge=causal:{tiny_cross}", (), "no causal language model"),
        (f"judge=causal:{tiny_causal}", ("--per-call", 3), "one document at a time"),
        (f"judge=causal:{tiny_causal}", ("--judge-by", "grade"), "writes nothing"),
        (f"judge=causal:{tiny_causal}", ("--runtime", "openvino"), "OpenVINO does not run"),
    ):
        no = invoke("rerank", candidates, "--scorer", scorer, *option, "-o", tmp_path / "no")
        assert no.exit_code == 2, no.output
        assert what in " ".join(no.stderr.split())
