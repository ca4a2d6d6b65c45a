"""The kinds of scorer that there are, and what is asked of all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from negmine.errors import UsageError
from negmine.params.per_model import check_names, names_in, of_model, options_of_models
from negmine.params.rerank import RerankParams
from negmine.scorers.base import Scorer
from negmine.scorers.causal import CAUSAL
from negmine.scorers.kind import Kind, Loading, ScorerRef
from negmine.scorers.llm_judge import LLM
from negmine.scorers.local_models import MODEL
from negmine.scorers.plugged import PLUGGED
from negmine.scorers.served import SERVED

#: What no scheme names is a model.
KINDS: tuple[Kind, ...] = (PLUGGED, LLM, CAUSAL, *SERVED, MODEL)


def _of_some_kinds() -> dict[str, tuple[str, ...]]:
    """Options that only some scorers have, and what these are."""
    found: dict[str, tuple[str, ...]] = {}
    for kind in KINDS:
        for option, is_a in kind.options.items():
            found[option] = (*found.get(option, ()), is_a)
    return {option: tuple(dict.fromkeys(those)) for option, those in found.items()}


_OF_SOME_KINDS = _of_some_kinds()
#: Options that a scorer may not be able to honour.
MAY_BE_REFUSED = (*_OF_SOME_KINDS, "max_length", "dtype", "runtime")


def is_served(spec: str) -> bool:
    """Whether a scorer, as the user wrote it, is behind HTTP."""
    scheme, colon, _ = spec.partition(":")
    return bool(colon) and any(kind.served and kind.scheme == scheme for kind in KINDS)


def refer(spec: str) -> ScorerRef:
    """The scorer that ``spec`` names: a model, or ``SCHEME:...`` of another kind.

    Raises:
        UsageError: no installed package brings that scorer.
        NegmineError: there is no such model; see :func:`negmine.models.resolve.resolve`.
    """
    scheme, colon, rest = spec.partition(":")
    for kind in KINDS:
        if kind.scheme is None:
            return kind.refer(spec)
        if colon and scheme == kind.scheme:
            return kind.refer(rest)
    raise AssertionError("the last kind takes every spec")


def load_scorer(reference: ScorerRef, loading: Loading) -> Scorer:
    """Load a scorer as it is asked for."""
    return reference.load(loading)


def check_options(references: Mapping[str, ScorerRef], params: RerankParams) -> None:
    """See that the options of scorers are such that these can honour, by their files alone.

    An option that one kind of scorer has is for all of that kind where it names none.

    Raises:
        UsageError: a scorer cannot, or an option is for none of them.
    """
    check_names(params, options_of_models(params), references, "scorer")
    known = {name: one for name, one in references.items() if one.is_a is not None}
    for option, those in _OF_SOME_KINDS.items():
        value = getattr(params, option)
        default = RerankParams.__dataclass_fields__[option].default
        other = [name for name, one in known.items() if one.is_a not in those]
        for name in names_in(value):
            if name in other and of_model(value, name) != default:
                raise _not_of(option, those, f"'{name}' ({known[name].spec}) is none")
        if of_model(value, "") != default and len(other) == len(references):
            raise _not_of(option, those, "and there is none")
    for name, one in known.items():
        one.check(params, name)


def _not_of(option: str, those: Sequence[str], what: str) -> UsageError:
    is_a = " or a ".join(those)
    flag = option.replace("_", "-")
    return UsageError(
        f"--{flag} is for a {is_a}, {what}",
        hint=f"Leave it out, or name a {is_a}: --{flag} NAME=VALUE.",
    )
