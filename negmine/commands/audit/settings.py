"""What an audit tries: the settings of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, get_args, get_type_hints

import numpy as np

from negmine import rules
from negmine.errors import InvalidDataError, UsageError, did_you_mean
from negmine.params import values as params_values
from negmine.params.filter import FilterParams
from negmine.table import schemas
from negmine.table.artifacts.reading import Artifact
from negmine.table.names import LEARNED, score_column
from negmine.table.part import known_scores

VERSION = 4
#: What ``--sweep auto`` tries first; the other rules follow in the order in which they are asked.
_FIRST = ("relative_margin", "absolute_margin", "max_score", "percentile", "max_fn_rate")


@dataclass(frozen=True)
class Setting:
    """A filter to try.

    Attributes:
        params: all of its options.
        sweep: the option that is varied, or None for the settings as given.
        value: its value here.
    """

    params: FilterParams
    sweep: str | None = None
    value: Any = None

    @property
    def label(self) -> str:
        """``relative-margin=0.05``, or ``as given``."""
        if self.sweep is None:
            return "as given"
        value = f"{self.value:.4g}" if isinstance(self.value, float) else str(self.value)
        if isinstance(self.value, tuple):
            value = ", ".join(self.value)
        return f"{self.sweep.replace('_', '-')}={value}"


# --- what is tried ----------------------------------------------------------------------------


def settings_of(params: FilterParams, sweeps: Sequence[str], source: Artifact) -> list[Setting]:
    """The settings as given, then every value of every sweep."""
    settings = [Setting(params)]
    for sweep in sweeps:
        if sweep == "auto":
            values = _auto_values(params, source)
            alone = replace(params, **{name: _default(name) for name in values})
            settings += [
                Setting(replace(alone, **{name: value}), name, value)
                for name, tried in values.items()
                for value in tried
            ]
        else:
            name, tried = parse_sweep(sweep)
            settings += [Setting(replace(params, **{name: value}), name, value) for value in tried]
    return settings


def parse_sweep(text: str) -> tuple[str, list[Any]]:
    """``relative-margin=0:0.2:0.05`` or ``against=min,max`` as (option, values).

    Raises:
        UsageError: no such option, or values that it does not take.
    """
    option, separator, given = text.partition("=")
    name = option.strip().replace("-", "_")
    known = {field.name for field in fields(FilterParams)}
    if name not in known or not separator:
        shown = sorted(field.replace("_", "-") for field in known)
        what = f"--sweep: filter has no option '{option}'" if separator else f"--sweep {text!r}"
        raise UsageError(
            what,
            hint="Write RULE=FROM:TO:STEP, RULE=V1,V2,... or auto. "
            + did_you_mean(option.replace("_", "-"), shown),
        )
    hint = get_type_hints(FilterParams)[name]
    whole = int in (get_args(hint) or (hint,)) and float not in get_args(hint)
    values: list[Any]
    if given.count(":") == 2:
        try:
            first, last, step = (float(part) for part in given.split(":"))
        except ValueError:
            raise UsageError(f"--sweep: '{given}' is not FROM:TO:STEP in numbers") from None
        if not step > 0 or not last >= first or (last - first) / step > 1000:
            raise UsageError(
                f"--sweep: '{given}' has no values", hint="FROM <= TO, STEP > 0, at most 1000."
            )
        count = int((last - first) / step + 1e-9) + 1
        values = [round(first + number * step, 10) for number in range(count)]
        values = [int(value) if whole and value == int(value) else value for value in values]
    else:
        values = [params_values.parsed(part.strip()) for part in given.split(",")]
    checked = [
        getattr(params_values.build(FilterParams, {}, {name: value}), name) for value in values
    ]
    return name, list(dict.fromkeys(checked))


def _auto_values(params: FilterParams, source: Artifact) -> dict[str, list[Any]]:
    """Values per rule for ``--sweep auto``; score units come from the known positives' scores."""
    scores = _positive_scores(params, source)
    tried = {r.name: r.tried(scores) for r in rules.REASONS if r.tried is not None}
    order = dict.fromkeys([*(name for name in _FIRST if name in tried), *tried])
    return {name: list(dict.fromkeys(tried[name])) for name in order}


def _positive_scores(params: FilterParams, source: Artifact) -> np.ndarray:
    """Scores of the known positives as the rules read them."""
    schema = source.schema()
    if params.by is not None and params.by.removeprefix(score_column("")) in LEARNED:
        # Made by the filter, so not in the table yet: probabilities.
        return np.linspace(0, 1, 101)
    name = schemas.pick_score(schema, params.by, "--by")
    tables = (source.read(part, ["label", score_column(name)]) for part in source.parts)
    scores = known_scores(tables, name, params.transform)
    if len(scores) == 0:
        raise InvalidDataError(
            f"--sweep auto: no positive has a score '{name}'",
            where=str(source.path),
            hint="Sweep what reads ranks (--sweep range-min=1:20:5), name another score (--by), or "
            "score the candidates first (negmine rerank --scorer NAME=MODEL).",
        )
    return scores


def _default(name: str) -> Any:
    return next(field.default for field in fields(FilterParams) if field.name == name)


def as_number(value: float) -> float | None:
    """A rounded number, or None where there is none."""
    return round(value, 6) if np.isfinite(value) else None
