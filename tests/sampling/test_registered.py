"""Samplers, weights and batchers are registered by name; options and tables do not drift."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args, get_type_hints

import pytest

from negmine.errors import UsageError
from negmine.params import ExportParams, FilterParams
from negmine.sampling import method, orders, samplers, weights

TABLES: list[tuple[type, str, dict[str, Any], set[Any]]] = [
    (FilterParams, "sampler", samplers.SAMPLERS, set()),
    (FilterParams, "weight", weights.WEIGHTS, {"none"}),
    (ExportParams, "batcher", orders.BATCHERS, set()),
]


@pytest.mark.parametrize(("params", "option", "table", "others"), TABLES)
def test_the_option_takes_what_is_registered(
    params: type, option: str, table: dict[str, Any], others: set[Any]
) -> None:
    hint = get_type_hints(params)[option]
    names = {name for part in (hint, *get_args(hint)) for name in get_args(part)} | set(
        get_args(hint)
    )
    assert {name for name in names if isinstance(name, str)} == {*table, *others}
    assert all(name == entry.name and entry.words for name, entry in table.items())


@pytest.mark.parametrize(("params", "option", "table", "others"), TABLES)
def test_options_of_methods_are_parameters(
    params: type, option: str, table: dict[str, Any], others: set[Any]
) -> None:
    fields = {field.name for field in dataclasses.fields(params)}
    assert set(method.owners(table)) <= fields


@pytest.mark.parametrize(
    ("make", "option"),
    [
        (lambda: samplers.sampler("best"), "--sampler"),
        (lambda: weights.weight("best"), "--weight"),
        (lambda: orders.batcher("best"), "--batcher"),
    ],
)
def test_an_unknown_name_tells_those_there_are(make: Any, option: str) -> None:
    with pytest.raises(UsageError, match=f"{option}: there is no 'best'") as error:
        make()
    table = {"--sampler": samplers.SAMPLERS, "--weight": weights.WEIGHTS}
    for name in table.get(option, orders.BATCHERS):
        assert name in str(error.value.hint)


def test_the_help_tells_every_sampler() -> None:
    (field,) = [field for field in dataclasses.fields(FilterParams) if field.name == "sampler"]
    assert all(sampler.words in field.metadata["help"] for sampler in samplers.SAMPLERS.values())


def test_names_are_joined_as_they_are_read() -> None:
    assert method.either(("a",)) == "a"
    assert method.either(("a", "b")) == "a or b"
    assert method.either(("a", "b", "c")) == "a, b or c"
