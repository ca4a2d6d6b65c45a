"""Rules on what a candidate's text holds: an answer of the query, no number.

The stage reads the texts (:mod:`negmine.stages.filter.contents`), and
:mod:`negmine.dedup.contents` looks into them.
"""

from __future__ import annotations

from negmine.rules.base import given, leaving_out
from negmine.rules.identity import flagged

ANSWER, NO_NUMBER = "answer", "no_number"

RULES = (
    flagged(
        ANSWER,
        given("answers"),
        "holds an answer of the query",
        switch="--answers",
        advice=lambda params, everything: (
            "short answers (a word, a year) are in many texts: a larger retrieve -k brings others"
        ),
    ),
    flagged(
        NO_NUMBER,
        lambda params: params.require_numbers != "off",
        "holds no number",
        switch="--require-numbers",
        hard=False,
        ways=leaving_out("require_numbers", "off"),
    ),
)
