"""What the page says first: how many negatives are likely false, who is short, what to do."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from negmine.commands.audit import sampled
from negmine.commands.audit.summary import ENOUGH, Tried, told_rate, tried
from negmine.commands.report.collect import Facts
from negmine.commands.report.words import percent
from negmine.commands.shortened import counted, short_id
from negmine.stages.filter.short_advice import CHANGE, LEAD
from negmine.table.names import P_PRIOR, P_RELEVANT

#: From this share of likely false negatives on a stricter rule is advised.
TOO_FALSE = 0.05
_LONGEST = 80


@dataclass(frozen=True)
class Verdict:
    """What the page says first.

    Attributes:
        lead: one sentence: likely false, short, what to do.
        details: how the share of false ones is known.
        command: what measures it; empty where it was measured.
    """

    lead: str
    details: list[str]
    command: str


@dataclass(frozen=True)
class _False:
    """How many negatives are likely false: as told, the number, and how it is known."""

    told: str
    rate: float | None
    how: str
    measured: bool


def verdict(
    facts: Facts,
    name: str,
    audits: Sequence[tuple[str, dict[str, Any], list[str]]],
    samples: Sequence[tuple[str, dict[str, Any]]] = (),
) -> Verdict:
    """The verdict on a ledger.

    Args:
        facts: what was collected of it.
        name: what a user calls it.
        audits: by hiding: (name, report, options that differ from the ledger's).
        samples: by a sample of its negatives: (name, report).
    """
    wanted = facts.reader.params.num_negatives
    short = sum(n for chosen, n in facts.chosen_per_query.items() if chosen < wanted)
    share = short / (facts.queries or 1)
    false = _sampled(samples) or _audited(audits) or _estimated(facts)
    scored = _beside(name, facts.ledger.artifact.inputs["scored"]["path"])
    few = f"{percent(short, facts.queries)} of the queries have" if short else "no query has"
    lead = (
        f"Likely false: {false.told}; short: {few} fewer than {wanted} negatives; "
        f"do this: {_action(facts, false, share)}."
    )
    command = "" if false.measured else f"negmine audit {shlex.quote(scored)} --sweep auto"
    return Verdict(lead, [false.how] if false.how else [], command)


def _action(facts: Facts, false: _False, share: float) -> str:
    """What to do: what is too false before what is short, for the cure of one feeds the other."""
    if not facts.selected:
        return _remedy(facts) or "see below which rule took the candidates"
    too_false = false.rate is not None and false.rate > TOO_FALSE
    if too_false and not false.measured:
        # An estimate may be far off on this collection: no rule is changed for it.
        return "measure it with negmine audit --sweep auto before changing a limit"
    if too_false:
        # Stricter costs negatives: where they are short already, another rule is wanted.
        other = "another rule or limit" if share > ENOUGH else "stricter limits"
        return f"try {other} (negmine audit --sweep auto names the cleanest with enough negatives)"
    steps = [] if false.rate is not None else ["measure it with negmine audit"]
    if share > ENOUGH:
        steps.append(_remedy(facts) or "see below what took the short queries' candidates")
    steps.append("read the highest-scoring negatives")
    return "; ".join(steps)


def _remedy(facts: Facts) -> str:
    """What the filter itself advised on short queries; empty where it had nothing to say."""
    for warning in facts.ledger.artifact.warnings:
        if not LEAD.match(warning):
            continue
        change = CHANGE.search(warning)
        if change is not None:
            option = f"--{change['name']} {change['value'] or ''}".rstrip()
            effect = re.split("[,;]", warning[change.end() :])[0]
            short = " short" if effect.startswith("leave") else ""
            how = "without" if change["without"] else "with"
            return f"filter again {how} {option} (it would {effect}{short})"
        _, separator, advice = warning.rpartition("); ")
        return advice if separator else ""
    return ""


def _sampled(samples: Sequence[tuple[str, dict[str, Any]]]) -> _False | None:
    """By a sample: what people said before what a judge did."""
    ways = {
        "gold": "by what people said of a sample of them",
        "controls": "by a judge, corrected by known positives and random documents",
    }
    for how, told in ways.items():
        for _, report in samples:
            if report["how"] == how:
                share = sampled.share(report["contamination"])
                rate = report["contamination"]["at_most"]
                return _False(f"{share} of the negatives, {told}", rate, "", True)
    return None


def _audited(audits: Sequence[tuple[str, dict[str, Any], list[str]]]) -> _False | None:
    measured = _measured(audits)
    if measured is None:
        return None
    told = ", ".join(f"{told_rate(measured, scheme)} ({scheme})" for scheme in measured.rates)
    return _False(
        f"{told} of the negatives, by the audit of these settings", measured.worst, "", True
    )


def _estimated(facts: Facts) -> _False:
    """By what was learned of relevance while filtering, if anything was."""
    for name, least, how in (
        (
            P_PRIOR,
            "about",
            "which is how probably each is relevant by a model of other, judged collections: how "
            "well it fits this one only an audit tells",
        ),
        (
            P_RELEVANT,
            "at least about",
            "which is how probably each is labelled by a model of these labels: positives that "
            "nobody labelled come on top",
        ),
    ):
        total, count = facts.learned.get(name, (0.0, 0))
        if count:
            rate = total / count
            return _False(
                f"{least} {percent(rate, 1)} of the negatives (estimated)",
                rate,
                f"Estimated, not measured: the mean {name} of {counted(count, 'chosen negative')}, "
                f"{how}.",
                False,
            )
    return _False(
        "not measured",
        None,
        "Nothing here tells how many negatives are false: no audit of exactly these settings lies "
        "beside the ledger, and no probability of relevance was learned.",
        False,
    )


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
