"""negmine: offline hard-negative mining, from (query, positive) pairs to training sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from negmine.api import mine

__version__ = "0.1.0"

__all__ = ["__version__", "mine"]


def __getattr__(name: str) -> Any:
    """``negmine.mine``, imported when it is first used: the command line starts without it."""
    if name == "mine":
        from negmine.api import mine

        return mine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
