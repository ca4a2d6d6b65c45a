"""How servers tell which models they have: of what they say, what says who answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from negmine.errors import UsageError, did_you_mean

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Listing:
    """A path at which a server tells of its models.

    Attributes:
        path: below the endpoint's URL.
        models: the models in what it tells, each with an ``id``.
        says: fields of a model that say what it is; others are times and permissions.
    """

    path: str
    models: Callable[[Mapping[str, Any]], list[Entry]]
    says: Sequence[str]

    def described(self, told: Mapping[str, Any], model: str, url: str) -> dict[str, Any]:
        """What the server tells of a model that stays the same when it is started anew.

        Raises:
            UsageError: it lists models, and not this one.
        """
        by_id = {one["id"]: one for one in self.models(told)}
        if by_id and model not in by_id:
            known = did_you_mean(model, by_id)
            raise UsageError(f"the server has no model '{model}'", where=url, hint=known)
        entry = by_id.get(model, {"id": model})
        kept = _some(entry, self.says)
        if isinstance(entry.get("meta"), Mapping):
            kept["meta"] = _some(entry["meta"], _META)
        return kept


#: What llama.cpp tells of the weights.
_META = ("vocab_type", "n_vocab", "n_ctx_train", "n_embd", "n_params", "size")
_OPENAI_SAYS = ("id", "root", "parent", "object", "max_model_len")
_TEI_SAYS = ("id", "model_sha", "model_dtype", "model_type", "max_input_length")


def _some(entry: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: entry[name] for name in names if entry.get(name) is not None}


def _of_data(told: Mapping[str, Any]) -> list[Entry]:
    data = told.get("data")
    entries = data if isinstance(data, list) else []
    return [one for one in entries if isinstance(one, Mapping) and isinstance(one.get("id"), str)]


def _of_info(told: Mapping[str, Any]) -> list[Entry]:
    model = told.get("model_id")
    return [{**told, "id": model}] if isinstance(model, str) else []


#: OpenAI's, below the version of the API, and where the URL is without one.
OPENAI = Listing("/models", _of_data, _OPENAI_SAYS)
OPENAI_AT_ROOT = Listing("/v1/models", _of_data, _OPENAI_SAYS)
#: That of Hugging Face's text-embeddings-inference: one server has one model.
TEI = Listing("/info", _of_info, _TEI_SAYS)
