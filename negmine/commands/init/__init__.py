"""``negmine init``: a first recipe for the files that are there."""

from negmine.commands.init.run import run

__all__ = ["run"]
