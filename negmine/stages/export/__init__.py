"""``negmine export``: the ledger's choices and the texts, as a training set."""

from negmine.stages.export.as_input import NAME as AS_INPUT
from negmine.stages.export.as_input import beginning as beginning_of_set
from negmine.stages.export.as_input import dialect as dialect_of_set
from negmine.stages.export.as_input import diff_file, foresee
from negmine.stages.export.as_input import plans as plans_of_set
from negmine.stages.export.as_input import run as write_back
from negmine.stages.export.choices import NEGATIVES
from negmine.stages.export.compared import calls_for
from negmine.stages.export.maker import Maker
from negmine.stages.export.options import only_beir
from negmine.stages.export.run import make, run
from negmine.stages.export.setup import VERSION, Setup, held_out_file, plan, set_up

__all__ = [
    "AS_INPUT",
    "NEGATIVES",
    "VERSION",
    "Maker",
    "Setup",
    "beginning_of_set",
    "calls_for",
    "dialect_of_set",
    "diff_file",
    "foresee",
    "held_out_file",
    "make",
    "only_beir",
    "plan",
    "plans_of_set",
    "run",
    "set_up",
    "write_back",
]
