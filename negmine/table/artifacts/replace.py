"""What a stage may do with a result that lies where its own goes."""

from __future__ import annotations

from enum import IntEnum


class Replace(IntEnum):
    """What may be replaced; each allows what those before it allow.

    What is up to date stays, but for ``ALL``; what negmine did not make is never part of a folder
    that it replaces.

    Attributes:
        NOTHING: a result of other settings is refused: a stage alone, where ``-o`` may be a slip.
        OTHER: what negmine made with other settings and nobody changed since: in a work folder.
        DAMAGED: also what does not match its checksums, and a file of somebody else (``--force``).
        ALL: also what is up to date (``--rebuild``).
    """

    NOTHING = 0
    OTHER = 1
    DAMAGED = 2
    ALL = 3

    @classmethod
    def asked(cls, *, force: bool, rebuild: bool, default: Replace) -> Replace:
        """The wish of a command line."""
        return cls.ALL if rebuild else cls.DAMAGED if force else default
