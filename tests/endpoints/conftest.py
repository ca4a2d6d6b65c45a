"""Waits are a fiftieth of what they are."""

from __future__ import annotations

import pytest

from negmine.endpoints import pace


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "_FIRST", 0.02)
    monkeypatch.setattr(pace, "_MOST", 0.1)
