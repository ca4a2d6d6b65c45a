"""What a stage returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """A finished stage.

    Attributes:
        path: the artifact (or exported file).
        counts: what its manifest counts.
        up_to_date: True when nothing had to be done.
        warnings: what the user should know.
        shared: whether a share of it was made, and nothing can be said of the whole.
    """

    path: Path
    counts: dict[str, Any]
    up_to_date: bool = False
    warnings: list[str] = field(default_factory=list)
    shared: bool = False
