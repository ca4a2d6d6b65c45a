"""``negmine init``: look at the user's files, say what they seem to be, write a recipe for them.

Nothing is asked. Every guess is said with its reason, stands in the recipe, and is changed there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from negmine import log
from negmine.commands.init import models
from negmine.commands.init.choosing import one_per_role
from negmine.commands.init.models import Models
from negmine.commands.init.rule import recommended
from negmine.commands.init.writing import recipe_text, work_of
from negmine.errors import ConflictError, UsageError
from negmine.inputs import beside, catalogues, places
from negmine.inputs.columns import shell_word
from negmine.inputs.guessing import Guess, accounted, look, mapping, refuse_absent, tried
from negmine.table import writers


def run(
    specs: Sequence[str],
    out: str,
    *,
    encoder: str | None,
    scorer: str | None,
    force: bool,
    column: Sequence[str] = (),
) -> None:
    """Write a recipe for the inputs ``specs``, or for what lies in the current folder.

    Args:
        specs: files, folders and ids.
        out: the recipe; ``-`` for standard output.
        encoder: ``[NAME=]MODEL``, or nothing for one that is on this machine.
        scorer: likewise, the cross-encoder.
        force: replace an existing recipe.
        column: ``TARGET=SOURCE`` of pairs whose names do not tell which text asks.

    Raises:
        NegmineError: the inputs are no pairs and no corpus with queries and judgements, or the
            recipe exists.
    """
    if out != "-" and Path(out).exists() and not force:
        raise ConflictError("exists already", where=out, hint="Give --force, or another -o.")
    columns = mapping(column)
    guesses = _guesses(specs or ["."], columns)
    refuse_absent([one for guess in guesses for one in guess.specs], columns)
    chosen = one_per_role(guesses)
    for guess in chosen.values():
        named = ", ".join(guess.specs)
        log.event(f"{guess.role}: {named} ({guess.why})", role=guess.role, input=named)
    chosen = {role: accounted(guess) for role, guess in chosen.items()}
    for role, guess in chosen.items():
        if not any(places.is_url(one) or one.startswith(catalogues.PREFIX) for one in guess.specs):
            # A recipe that stops at the first bad record is of no use.
            chosen[role] = tried(guess)
    found = Models(models.of(models.ENCODER, encoder), models.of(models.SCORER, scorer))
    for kind, model in (("encoder", found.encoder), ("cross-encoder", found.scorer)):
        named = f"{model.name}={model.spec}" if model.name else "none"
        log.event(f"{kind}: {named} ({model.why})")
    folder = "." if out == "-" else os.path.dirname(out) or "."
    counted = next((chosen[r].counted for r in ("pairs", "qrels") if r in chosen), None)
    rule = recommended(counted, found)
    log.event(f"rule: {rule.name} ({rule.why})")
    text = recipe_text(
        {role: _beside(guess, folder) for role, guess in chosen.items()},
        found.seen_from(folder),
        rule,
        specs,
        work_of(out),
    )
    if out == "-":
        sys.stdout.write(text)
        return
    writers.write_new_text(Path(out), text, replace=force)
    log.event(f"wrote {out}: read it, then: negmine run {shell_word(out)}")
    print(out, flush=True)


def _guesses(specs: Sequence[str], columns: Mapping[str, str]) -> list[Guess]:
    """What the inputs seem to be.

    Raises:
        UsageError: one that must not, or cannot, stand in a recipe.
    """
    guesses: list[Guess] = []
    for spec in specs:
        if spec == "-":
            raise UsageError(
                "standard input cannot stand in a recipe",
                hint="Name a file; negmine run recipe.toml --pairs - puts another in its place.",
            )
        if places.is_url(spec) and places.redacted(spec) != spec:
            raise UsageError(
                "the address holds a password or a key, which would stand in the recipe",
                where=places.redacted(spec),
                hint="Keep it in the environment, as your storage's manual tells.",
            )
        guesses += look(spec, columns)
    return guesses


def _beside(guess: Guess, folder: str) -> Guess:
    """The same with paths as a recipe in this folder names them."""
    spec, *also = (beside.named_from(folder, one) for one in guess.specs)
    return replace(guess, spec=spec, also=tuple(also))
