"""What the options of a stage say of one of its models."""

from __future__ import annotations

from typing import Any

from negmine import processors
from negmine.params.index import IndexParams
from negmine.params.per_model import of_model
from negmine.params.rerank import RerankParams

#: Options that every stage has which loads models as it is told.
_SHARED = ("max_length", "batch_size", "device", "dtype", "runtime", "trust_remote_code")


def model_options(params: IndexParams | RerankParams, name: str) -> dict[str, Any]:
    """How the model ``name`` is run: fields of :class:`negmine.models.base.Settings`.

    Threads are those that were taken when this is called; see :mod:`negmine.processors`.
    """
    found = {option: of_model(getattr(params, option), name) for option in _SHARED}
    return {**found, "threads": processors.threads()}
