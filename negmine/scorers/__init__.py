"""Models that score (query, document) pairs into a column ``score_NAME``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from negmine import plugins
from negmine.errors import UsageError
from negmine.models import limits
from negmine.models.resolve import ModelRef, resolve
from negmine.params.per_model import (
    check_names,
    for_model,
    names_in,
    of_model,
    options_of_models,
)
from negmine.params.rerank import RerankParams
from negmine.plugins import Plugin
from negmine.scorers.base import GoesOn, HasColumns, HasPlacement, Prompts, Scorer, Scores
from negmine.scorers.settings import (
    cross_encoder_settings,
    encoder_settings,
    late_interaction_settings,
)


@dataclass(frozen=True)
class ScorerRef:
    """A scorer that is asked for, not loaded yet.

    Attributes:
        spec: what the user wrote.
        revision: what stands for the model, or for another package's code, in the fingerprint.
        load: loads it.
        model: the model; None of another package's scorer, of which nothing is known.
    """

    spec: str
    revision: str
    load: Callable[[RerankParams, str, Prompts], Scorer]
    model: ModelRef | None = None


def refer(spec: str) -> ScorerRef:
    """The scorer that ``spec`` names: a model, or another package's (``plugin:NAME[/ARGUMENT]``).

    Raises:
        UsageError: no installed package brings that scorer.
        NegmineError: there is no such model; see :func:`negmine.models.resolve.resolve`.
    """
    if spec.startswith(plugins.PREFIX):
        plugin, argument = plugins.parse("scorer", spec, "--scorer")
        return ScorerRef(spec, plugin.identity, partial(_load_plugin, plugin, argument))
    model = resolve(spec)
    return ScorerRef(spec, model.revision, partial(_load_model, model), model)


def load_scorer(reference: ScorerRef, params: RerankParams, name: str, prompts: Prompts) -> Scorer:
    """Load a scorer, with what the options say of ``name``."""
    return reference.load(params, name, prompts)


def check_options(references: Mapping[str, ScorerRef], params: RerankParams) -> None:
    """See that the options of models are such that these can honour, by their files alone.

    An option that one kind of model has is for all of that kind where it names none.

    Raises:
        UsageError: a model cannot, or an option is for none of them.
    """
    check_names(params, options_of_models(params), references, "scorer")
    models = {name: one.model for name, one in references.items() if one.model is not None}
    for option, kind in _OF_ONE_KIND.items():
        value = getattr(params, option)
        default = RerankParams.__dataclass_fields__[option].default
        other = [name for name, model in models.items() if kind_of(model) != kind]
        for name in names_in(value):
            if name in other and of_model(value, name) != default:
                raise _not_of(option, kind, f"'{name}' ({models[name].spec}) is none")
        if of_model(value, "") != default and len(other) == len(references):
            raise _not_of(option, kind, "and there is none")
    for name, model in models.items():
        if kind_of(model) in ("bi-encoder", "sparse-encoder"):
            # One that gives weights of terms is refused there.
            limits.check_encoder(model, encoder_settings(params, name, Prompts()))
        elif kind_of(model) == "late-interaction":
            settings = late_interaction_settings(params, name, Prompts())
            limits.check_late_interaction(model, settings)
        else:
            limits.check(model, cross_encoder_settings(params, name))


#: Options that models of one kind have.
_OF_ONE_KIND = {
    "pooling": "bi-encoder",
    "truncate_dim": "bi-encoder",
    "activation": "cross-encoder",
}


#: Options that a model may not be able to honour.
MAY_BE_REFUSED = (*_OF_ONE_KIND, "max_length", "dtype", "runtime")


def _not_of(option: str, kind: str, what: str) -> UsageError:
    flag = option.replace("_", "-")
    return UsageError(
        f"--{flag} is for a {kind}, {what}",
        hint=f"Leave it out, or name a {kind}: --{flag} NAME=VALUE.",
    )


def kind_of(model: ModelRef) -> str:
    """What scores as it is; of what a model's files do not tell, a cross-encoder is made."""
    return "cross-encoder" if model.kind == "unknown" else model.kind


def _load_plugin(
    plugin: Plugin, argument: str | None, params: RerankParams, name: str, prompts: Prompts
) -> Scorer:
    """Another package's scorer is called with its argument, its parameters and the prompts."""
    made: Scorer = plugin.load()(argument, for_model(params, name), prompts)
    return made


def _load_model(model: ModelRef, params: RerankParams, name: str, prompts: Prompts) -> Scorer:
    if kind_of(model) == "bi-encoder":
        from negmine.scorers.bi_encoder import BiEncoderScorer

        return BiEncoderScorer(model, encoder_settings(params, name, prompts))
    if kind_of(model) == "late-interaction":
        from negmine.scorers.late_interaction import LateInteractionScorer

        return LateInteractionScorer(model, late_interaction_settings(params, name, prompts))
    from negmine.scorers.cross_encoder import CrossEncoderScorer

    return CrossEncoderScorer(model, cross_encoder_settings(params, name), prompts)


__all__ = [
    "MAY_BE_REFUSED",
    "GoesOn",
    "HasColumns",
    "HasPlacement",
    "Prompts",
    "Scorer",
    "ScorerRef",
    "Scores",
    "check_options",
    "kind_of",
    "load_scorer",
    "refer",
]
