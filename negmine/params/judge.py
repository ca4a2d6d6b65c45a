"""The options of language models that judge relevance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from negmine.params.option import opt
from negmine.params.per_model import Each

#: Before a judge's model that runs here.
ON_THIS_MACHINE = "causal:"
EXAMINE_HELP = (
    "Ask every judge first about N known positives and N documents at random, and refuse one "
    "that is no better than chance."
)
TRUST_ANYWAY_HELP = (
    "Believe a judge that is no better than chance, or was not examined, and a server of another "
    "kind that fails its probe."
)
#: What a prompt file is called in the help.
PROMPT_FILE = "[NAME=]FILE"


# A group of fields: the parameters of a command make the methods.
@dataclass(frozen=True, init=False, repr=False, eq=False)
class JudgeOptions:
    """How a judge is asked, and examined before it is believed."""

    headings: ClassVar[Mapping[str, str]] = {"prompt_file": "Judges"}

    prompt_file: Each[str | None] = opt(
        None,
        "How a judge is asked: a TOML file, or a prompt that is shipped (en, de, es, fr, zh, "
        "qwen3-reranker); its content counts. Default: en.",
        metavar=PROMPT_FILE,
        affects_output=False,
        per_model=True,
    )
    per_call: Each[int] = opt(
        1,
        "Ask a server about so many documents of a query in one call, for a grade of each: fewer "
        "calls, other verdicts (the examination says how many).",
        metavar="N",
        minimum=1,
        maximum=100,
        later=True,
        per_model=True,
    )
    judge_by: Each[Literal["auto", "logprobs", "grade", "word"]] = opt(
        "auto",
        "What a judge's score comes from: the log-probabilities of yes and no, a grade of 0 to 4 "
        "by JSON schema, or the word alone; auto is the first that the server gives.",
        later=True,
        per_model=True,
    )
    examine: int = opt(
        100,
        EXAMINE_HELP,
        metavar="N",
        minimum=0,
        affects_output=False,
    )
    trust_anyway: bool = opt(
        False,
        TRUST_ANYWAY_HELP,
        flags=("--trust-anyway/--no-trust-anyway",),
        affects_output=False,
    )
