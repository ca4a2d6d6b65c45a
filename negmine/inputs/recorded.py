"""Which files a run read, and their digests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from negmine.inputs import Specs, origin
from negmine.table import artifacts


@dataclass
class Inputs:
    """The users' inputs of the artifact in ``folder``, for its plan.

    Attributes:
        files: their records by role, for ``Plan.files``.
        again: what takes their digests anew, for ``Plan.again``.
    """

    folder: Path
    files: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    again: dict[str, Callable[[], str]] = field(default_factory=dict)

    def add(self, specs: Specs, kind: str, role: str | None = None) -> None:
        """Record what ``specs`` hold now; ``role`` is its name where that is not its kind."""
        role = role or kind
        found = origin(specs, kind, artifacts.recorded_file(self.folder, role))
        self.files[role], self.again[role] = found.record, found.again
