"""What a model is asked for texts of a kind: for which cases, with what told, checked how."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from negmine.params.write import WriteParams
from negmine.stages.write.cases import Case, Group
from negmine.stages.write.drafts import Draft
from negmine.table.names import QUERY

#: What stands in the places of a prompt.
Told = Mapping[str, str]


@dataclass(frozen=True)
class Asking:
    """How texts of a kind are asked for.

    Attributes:
        cases: those of a group that have a call each.
        told: of a case what the model reads.
        checked: of a text what each question is about, and whether yes is the answer that it needs.
        passages: how many passages each question is asked of.
        each: texts of a case that stay, at most.
    """

    cases: Callable[[Group], list[Case]]
    told: Callable[[Case], Told]
    checked: Callable[[Draft], Sequence[tuple[Told, bool]]]
    passages: int
    each: int


def asking_of(params: WriteParams) -> Asking:
    """How the kind of texts is asked for that ``params`` name."""
    if params.kind == QUERY:
        return Asking(_with_positive, _query_told, _query_checked, 1, params.each)
    if params.kind == "instruction":
        each = params.each
        return Asking(
            lambda group: list(group.with_negatives(each)),
            _instruction_told,
            _instruction_checked,
            passages=2,
            each=1,
        )
    return Asking(_queries, _negative_told, _negative_checked, 1, params.each)


# --- negatives, from the query alone (Don't Retrieve, Generate) ---------------------------------


def _queries(group: Group) -> list[Case]:
    return list({case.qid: replace(case, docid="") for case in group.cases}.values())


def _negative_told(case: Case) -> Told:
    return {"query": case.query}


def _negative_checked(draft: Draft) -> Sequence[tuple[Told, bool]]:
    return [({"query": draft.case.query, "passage": draft.text}, False)]


# --- queries that a document does not answer (DocReRank, arXiv 2505.22584) ----------------------


def _with_positive(group: Group) -> list[Case]:
    return [case for case in group.cases if case.docid]


def _query_told(case: Case) -> Told:
    return {"query": case.query, "passage": case.passage}


def _query_checked(draft: Draft) -> Sequence[tuple[Told, bool]]:
    return [({"query": draft.text, "passage": draft.case.passage}, False)]


# --- instructions under which positive and negative swap their labels (Dual-View) ---------------


def _instruction_told(case: Case) -> Told:
    assert case.negative is not None, "its cases have one"
    return {
        **{"instruction": case.instruction, "query": case.query},
        **{"passage": case.passage, "negative": case.negative.passage},
    }


def _instruction_checked(draft: Draft) -> Sequence[tuple[Told, bool]]:
    case = draft.case
    assert case.negative is not None, "its cases have one"
    told = {"instruction": draft.text, "query": case.query}
    return [
        ({**told, "passage": case.passage}, False),
        ({**told, "passage": case.negative.passage}, True),
    ]
