"""What the page says first: how many negatives are likely false, who is short, what to do."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Sequence
from typing import Any

from negmine.commands.audit.summary import ENOUGH, Tried, told_rate, tried
from negmine.commands.report.collect import Facts
from negmine.commands.shortened import short_id

#: From this share of likely false negatives on a stricter rule is advised.
TOO_FALSE = 0.05
_LONGEST = 80


def verdict(
    facts: Facts, name: str, audits: Sequence[tuple[str, dict[str, Any], list[str]]]
) -> list[str]:
    """Sentences for the top of the page.

    Args:
        facts: what was collected of the ledger.
        name: what a user calls it.
        audits: (name, report, options that differ from the ledger's).
    """
    wanted = facts.reader.params.num_negatives
    short = sum(n for chosen, n in facts.chosen_per_query.items() if chosen < wanted)
    share = short / (facts.queries or 1)
    measured = _measured(audits)
    rates = None if measured is None else measured.rates
    scored = _beside(name, facts.ledger.artifact.inputs["scored"]["path"])
    audit = f"negmine audit {shlex.quote(scored)} --sweep auto, with the ledger's options"
    if measured is None or rates is None:
        said = ["Likely false: not measured."]
    else:
        told = ", ".join(f"{told_rate(measured, scheme)} ({scheme})" for scheme in rates)
        said = [f"Likely false: {told} of the negatives, by the audit of these settings."]
    said.append(f"Short: {share:.1%} of the queries have fewer than {wanted} negatives.")
    advice = []
    if rates is None:
        advice.append(f"measure it ({audit}; then make this page again)")
    elif max(rates.values()) > TOO_FALSE:
        # Stricter costs negatives: where they are short already, another rule is wanted.
        other = "another rule or limit" if share > ENOUGH else "stricter limits"
        advice.append(f"try {other} ({audit}, names the cleanest with enough negatives)")
    if share > ENOUGH and (rates is None or max(rates.values()) <= TOO_FALSE):
        advice.append("see below what took the short queries' candidates, and loosen that rule")
    advice.append("read the highest-scoring negatives")
    return [*said, f"Do this: {'; '.join(advice)}."]


def _beside(name: str, path: str) -> str:
    """A path from the ledger as seen from where its name counts; of one far off the last part."""
    found = posixpath.normpath(f"{name}/{path}")
    return posixpath.basename(found) if found.startswith(("..", "/")) else found


def _measured(
    audits: Sequence[tuple[str, dict[str, Any], list[str]]],
) -> Tried | None:
    """What an audit of exactly these settings measured of them."""
    for _, report, differs in audits:
        given = [one for one in tried(report) if one.name == "as given"]
        if given and not differs:
            return given[0]
    return None


def command(name: str, qid: str) -> str:
    """What to type to see all of a query; empty where its id is none to type."""
    if not qid.isprintable() or qid.startswith("-") or len(qid) > _LONGEST:
        return ""
    return f"negmine explain {shlex.quote(name)} {shlex.quote(short_id(qid))}"
