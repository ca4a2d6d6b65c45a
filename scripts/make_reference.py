"""Rewrite the generated parts of the documentation: every command's help.

A generated part stands between ``<!-- help: COMMAND -->`` and ``<!-- /help -->`` in README.md::

    python scripts/make_reference.py          # rewrite
    python scripts/make_reference.py --check  # exit 1 if something would change
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"
_BLOCK = re.compile(r"(<!-- help: (?P<command>[a-z]*) -->\n).*?(<!-- /help -->)", re.DOTALL)


def help_of(command: str) -> str:
    """What ``negmine COMMAND --help`` prints on a terminal of 88 columns."""
    os.environ.update(COLUMNS="88", TERMINAL_WIDTH="88", NO_COLOR="1")
    from typer.testing import CliRunner

    from negmine.cli import app

    arguments = [command, "--help"] if command else ["--help"]
    result = CliRunner().invoke(app, arguments, prog_name="negmine", terminal_width=88)
    if result.exit_code:
        raise SystemExit(f"negmine {command} --help failed: {result.output}")
    return "\n".join(line.rstrip() for line in result.stdout.strip().splitlines())


def rewritten(text: str) -> str:
    """``text`` with every generated part made anew."""

    def block(match: re.Match[str]) -> str:
        return f"{match[1]}```text\n{help_of(match['command'])}\n```\n{match[3]}"

    return _BLOCK.sub(block, text)


def main() -> int:
    """Rewrite or check."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 if stale")
    arguments = parser.parse_args()
    text = README.read_text(encoding="utf-8")
    new = rewritten(text)
    if new == text:
        return 0
    if arguments.check:
        print("README.md is stale: run python scripts/make_reference.py", file=sys.stderr)
        return 1
    README.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
