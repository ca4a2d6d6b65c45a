"""``negmine export``: the ledger's choices and the texts, as a training set."""

from negmine.stages.export.choices import NEGATIVES
from negmine.stages.export.maker import Maker
from negmine.stages.export.options import only_beir
from negmine.stages.export.run import make, run
from negmine.stages.export.setup import VERSION, Setup, held_out_file, plan, set_up

__all__ = [
    "NEGATIVES",
    "VERSION",
    "Maker",
    "Setup",
    "held_out_file",
    "make",
    "only_beir",
    "plan",
    "run",
    "set_up",
]
