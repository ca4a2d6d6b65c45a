"""The command line: parse, call, report. Options are made from :mod:`negmine.params`."""

from negmine.cli import collecting, commands, stages
from negmine.cli.app import app
from negmine.cli.main import main

__all__ = ["app", "collecting", "commands", "main", "stages"]
