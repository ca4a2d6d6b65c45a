"""What a stage returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from negmine.errors import InvariantError

#: What a user does about a violated invariant.
REPORT_IT = "This is a bug in negmine; please report it with the command and the manifest."


@dataclass(frozen=True)
class Outcome:
    """A finished stage.

    Attributes:
        path: the artifact (or exported file).
        counts: what its manifest counts.
        up_to_date: True when nothing had to be done.
        warnings: what the user should know.
    """

    path: Path
    counts: dict[str, Any]
    up_to_date: bool = False
    warnings: list[str] = field(default_factory=list)


def conserve(what: str, total: int, **parts: int) -> None:
    """Check that ``parts`` add up to ``total``.

    Raises:
        InvariantError: they do not, which is a bug.
    """
    if total != sum(parts.values()):
        listed = " + ".join(f"{name} {count}" for name, count in parts.items())
        raise InvariantError(
            f"{what}: {total} is not {listed}",
            hint=REPORT_IT,
        )
