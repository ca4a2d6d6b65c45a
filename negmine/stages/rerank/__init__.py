"""``negmine rerank``: one score column per model.

``setup`` checks what is asked and plans it, ``rows`` says which rows are scored, ``loading`` loads
the scorers, ``scoring`` scores the parts of a table, ``run`` does all of it and writes.
"""

from negmine.stages.rerank.loading import shared_gpus
from negmine.stages.rerank.rows import limited, to_score, wanted
from negmine.stages.rerank.run import run
from negmine.stages.rerank.scoring import score
from negmine.stages.rerank.setup import VERSION, MakeUntil, Setup, check_models, plan, set_up

__all__ = [
    "VERSION",
    "MakeUntil",
    "Setup",
    "check_models",
    "limited",
    "plan",
    "run",
    "score",
    "set_up",
    "shared_gpus",
    "to_score",
    "wanted",
]
