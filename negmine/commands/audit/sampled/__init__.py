"""``negmine audit --judge``: contamination by positives that nobody labelled, by a sample."""

from negmine.commands.audit.sampled.run import is_sampled, run
from negmine.commands.audit.sampled.telling import share, table

__all__ = ["is_sampled", "run", "share", "table"]
