"""``negmine filter``: every row dropped by a rule, chosen, or left."""

from negmine.stages.filter.run import judge_all, run
from negmine.stages.filter.setup import VERSION, Setup, files_of, fitted_beforehand, plan, set_up

__all__ = [
    "VERSION",
    "Setup",
    "files_of",
    "fitted_beforehand",
    "judge_all",
    "plan",
    "run",
    "set_up",
]
