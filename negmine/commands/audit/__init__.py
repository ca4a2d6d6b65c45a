"""``negmine audit``: how many of the chosen negatives are positives that were hidden."""

from negmine.commands.audit.counting import Tally
from negmine.commands.audit.curves import curves, panels
from negmine.commands.audit.hiding import Hidden, Scheme, hide, mask
from negmine.commands.audit.printing import REPORT, by_source, stored, table
from negmine.commands.audit.run import measure, run
from negmine.commands.audit.settings import VERSION, Setting, parse_sweep

__all__ = [
    "REPORT",
    "VERSION",
    "Hidden",
    "Scheme",
    "Setting",
    "Tally",
    "by_source",
    "curves",
    "hide",
    "mask",
    "measure",
    "panels",
    "parse_sweep",
    "run",
    "stored",
    "table",
]
