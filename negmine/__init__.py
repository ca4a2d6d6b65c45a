"""negmine: offline hard-negative mining, from (query, positive) pairs to training sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from negmine.api import mine
    from negmine.ledger import Ledger
    from negmine.ledger import open_ledger as open

__version__ = "0.1.0"

__all__ = ["Ledger", "__version__", "mine", "open"]


def __getattr__(name: str) -> Any:
    """What is imported when it is first used: the command line starts without it."""
    if name == "mine":
        from negmine.api import mine

        return mine
    if name in ("Ledger", "open"):
        from negmine.ledger import Ledger, open_ledger

        return Ledger if name == "Ledger" else open_ledger
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
