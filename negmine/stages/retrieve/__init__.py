"""``negmine retrieve``: the union of what every source finds, with the positives scored by all.

``setup`` checks what is asked and plans it, ``task`` reads queries and judgements, ``examples``
those of a training set, ``opening`` opens the sources, ``mining`` searches, ``run`` does all of it
and writes.
"""

from negmine.stages.retrieve.mining import (
    mine,
    queries_at_once,
    queries_per_part,
    queries_together,
)
from negmine.stages.retrieve.opening import open_sources
from negmine.stages.retrieve.run import run, workshop_of
from negmine.stages.retrieve.setup import VERSION, Setup, check_models, plan, set_up, will_have
from negmine.stages.retrieve.task import Task, read_task
from negmine.stages.set_ids import Corpus

__all__ = [
    "VERSION",
    "Corpus",
    "Setup",
    "Task",
    "check_models",
    "mine",
    "open_sources",
    "plan",
    "queries_at_once",
    "queries_per_part",
    "queries_together",
    "read_task",
    "run",
    "set_up",
    "will_have",
    "workshop_of",
]
