"""The recipe that ``negmine init`` writes, as commented TOML."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from negmine import log
from negmine.commands.init.models import ENCODER, SCORER, Model, Models
from negmine.commands.init.rule import Rule
from negmine.inputs.guessing import Guess

#: Where the results of a recipe go that has no name of its own.
WORK = "work/mine"
#: What a proposed model is called.
_NAMES = {"encoder": ENCODER.name, "scorer": SCORER.name}


def recipe_text(
    chosen: dict[str, Guess], models: Models, rule: Rule, specs: Sequence[str], work: str = WORK
) -> str:
    """The recipe as commented TOML; ``work`` is where its results go."""
    looked = ", ".join(specs) or "the files of this folder"
    lines = [
        f"# Written by negmine init, from {_comment(looked)}.",
        "# Run it with: negmine run FILE. Paths are relative to this file's folder.",
        "# Every key is an option of the stage: negmine index --help, ...",
        "",
        f"work = {_toml(work)}  # all results go here; the training set is train.parquet in it",
        "",
        "[index]",
        *_inputs(chosen, ("corpus", "pairs"), alone="corpus" if "corpus" in chosen else "pairs"),
        *_model("encoder", models.encoder, "An encoder finds what shares no words"),
        "",
        "[retrieve]",
        *_inputs(chosen, ("queries", "qrels", "pairs"), alone="pairs"),
        *_run(chosen),
        "k = 50  # candidates per query and source",
        "",
        "[rerank]",
        *_reranking(models.scorer),
        "",
        "[filter]",
        f"# Why this rule (docs/denoising.md): {_comment(rule.why)}.",
        *rule.lines,
        "num-negatives = 4",
        "",
        "[export]",
        'format = "triplet"  # n-tuple, labeled-list, flagembedding, ...: negmine export --help',
    ]
    return "\n".join(lines) + "\n"


def work_of(out: str) -> str:
    """Where the results of the recipe ``out`` go: a run replaces what is there, each has its own.

    Only the recipe without a name of its own (``recipe.toml``, standard output) has :data:`WORK`.
    """
    name = Path(out).stem
    return WORK if name in ("-", "recipe") else f"work/{name}"


def _model(key: str, model: Model, use: str) -> list[str]:
    """The line of a model; a comment where there is none."""
    if model.name is None:
        proposed = f"# {key} = {{ {_NAMES[key]} = {_toml(model.spec)} }}"
        return [f"# {use} ({_comment(model.why)}):", proposed]
    return [f"{key} = {{ {model.name} = {_toml(model.spec)} }}  # {_comment(model.why)}"]


def _reranking(scorer: Model) -> list[str]:
    lines = _model("scorer", scorer, "A cross-encoder judges best what is a false negative")
    if scorer.name is not None:
        lines += [
            "# It reads every candidate with its query, which takes the most time (how long:",
            "# negmine run FILE --dry-run). Without this line the sources' own scores judge.",
        ]
    return lines


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
