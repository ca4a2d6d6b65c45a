"""``FilterParams`` is composed of groups of options: none twice, in the artifacts' order."""

from __future__ import annotations

import dataclasses
import inspect
import json
from pathlib import Path

from negmine.params import FilterParams, output_affecting

STORED = Path(__file__).parent.parent / "data" / "chain" / "made" / "ledger" / "_manifest.json"


def test_every_option_is_declared_once() -> None:
    groups = [base for base in FilterParams.__mro__ if dataclasses.is_dataclass(base)]
    declared = [
        name
        for base in groups
        for name, told in inspect.get_annotations(base).items()
        if not str(told).startswith("ClassVar")
    ]
    assert sorted(declared) == sorted(field.name for field in dataclasses.fields(FilterParams))


def test_the_order_of_a_stored_ledgers_parameters() -> None:
    """The ledger was made before the options were grouped."""
    stored = json.loads(STORED.read_text("utf-8"))["params"]
    names = list(output_affecting(FilterParams()))
    assert [name for name in stored if name in names] == names
