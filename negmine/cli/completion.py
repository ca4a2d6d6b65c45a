"""What a shell completes beside options: recipes, layouts, and the names of scores in an artifact.

Each takes what is typed so far and never fails: a shell shows nothing where nothing is known.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence

import typer

#: Options that name a score, or the source that has it.
_SCORES = ("by", "sample_by", "rank_by", "weight_by", "guide", "score_by", "top_by", "batch_by")
#: Arguments that are the artifact which an option's scores stand in.
_ARTIFACTS = ("artifact", "scored")


def recipes(incomplete: str) -> list[str]:
    """Recipes of negmine's by name, and TOML files where the typed path leads."""
    from negmine import recipe

    # As it was typed: a leading ./ stays, and what looks like a pattern is a name.
    files = sorted(glob.glob(f"{glob.escape(incomplete)}*.toml"))
    return [*files, *(name for name in sorted(recipe.shipped()) if name.startswith(incomplete))]


def layouts(incomplete: str) -> list[str]:
    """Formats of training sets, those of other packages included."""
    from negmine import formats

    return [name for name in formats.known() if name.startswith(incomplete)]


def scores(context: typer.Context, incomplete: str) -> list[str]:
    """Names of the scores that the artifact has which stands before the option."""
    from negmine.errors import NegmineError
    from negmine.table import schemas
    from negmine.table.artifacts import open_artifact

    # An option without its value stops the parser before arguments have their names.
    given = [*(context.params.get(name) for name in _ARTIFACTS), *context.args[:1]]
    path = next((one for one in given if one), None)
    if path is None:
        return []
    try:
        names = schemas.score_names(open_artifact(path).schema())
    except (NegmineError, OSError):
        return []
    return [name for name in names if name.startswith(incomplete)]


def of_values(values: Sequence[str]) -> Callable[[str], list[str]]:
    """What completes one of some values, which may stand behind ``NAME=``."""

    def complete(incomplete: str) -> list[str]:
        name, equals, begun = incomplete.rpartition("=")
        return [name + equals + value for value in values if value.startswith(begun)]

    return complete


def of_option(name: str) -> Callable[..., list[str]] | None:
    """What completes the values of a stage's option."""
    if name in _SCORES:
        return scores
    return layouts if name == "format" else None
