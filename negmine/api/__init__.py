"""``negmine.mine``: the whole chain in one call, for notebooks."""

from __future__ import annotations

from negmine.api.mining import mine

__all__ = ["mine"]
