"""Counts that must add up."""

from __future__ import annotations

from typing import NoReturn

from negmine.errors import InvariantError


def violated(what: str) -> NoReturn:
    """Report counts that do not add up.

    Raises:
        InvariantError: always.
    """
    raise InvariantError(what, hint=REPORT_IT)


#: What a user does about a violated invariant.
REPORT_IT = "This is a bug in negmine; please report it with the command and the manifest."


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
