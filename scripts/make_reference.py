"""Rewrite the generated part of the documentation: every command's help in docs/reference.md.

It stands between ``<!-- commands -->`` and ``<!-- /commands -->``, a section for each command that
the command line has::

    python scripts/make_reference.py          # rewrite
    python scripts/make_reference.py --check  # exit 1 if something would change
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The code beside the page, and no other that may be installed.
sys.path.insert(0, str(ROOT))
REFERENCE = ROOT / "docs" / "reference.md"
BEGIN, END = "<!-- commands -->\n", "<!-- /commands -->\n"
#: What stands first; all other commands follow by name.
FIRST = ("init", "run", "index", "retrieve", "rerank", "filter", "export")


def commands() -> list[str]:
    """The commands that the command line has, those that make training sets first."""
    import typer

    from negmine.cli import app

    names = typer.main.get_group(app).commands
    return [name for name in FIRST if name in names] + sorted(set(names) - set(FIRST))


def help_of(command: str) -> str:
    """What ``negmine COMMAND --help`` prints on a terminal of 88 columns."""
    os.environ.update(COLUMNS="88", TERMINAL_WIDTH="88", NO_COLOR="1")
    from typer.testing import CliRunner

    from negmine.cli import app

    result = CliRunner().invoke(app, [command, "--help"], prog_name="negmine", terminal_width=88)
    if result.exit_code:
        raise SystemExit(f"negmine {command} --help failed: {result.output}")
    return "\n".join(line.rstrip() for line in result.stdout.strip().splitlines())


def rewritten(text: str) -> str:
    """The page with its generated part made anew."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    sections = [f"\n## negmine {name}\n\n```text\n{help_of(name)}\n```\n" for name in commands()]
    return f"{before}{BEGIN}{''.join(sections)}\n{END}{after}"


def main() -> int:
    """Rewrite or check."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 if stale")
    arguments = parser.parse_args()
    text = REFERENCE.read_text(encoding="utf-8")
    new = rewritten(text)
    if new == text:
        return 0
    if arguments.check:
        print("docs/reference.md is stale: run python scripts/make_reference.py", file=sys.stderr)
        return 1
    REFERENCE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
