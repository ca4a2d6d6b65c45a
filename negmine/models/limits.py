"""What a model's files say that it can take, so that settings are refused before it is loaded.

Only what the files tell for certain is refused here; loading the model looks at all of it again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from negmine.errors import UsageError
from negmine.models.base import (
    CrossEncoderSettings,
    EncoderSettings,
    LateInteractionSettings,
    Settings,
    SparseSettings,
)
from negmine.models.devices import choose
from negmine.models.resolve import ModelRef, is_masked_lm, local_folder, read_json

#: Models whose positions begin after the padding id.
_PADDED = frozenset({"camembert", "mpnet", "roberta", "xlm-roberta"})
#: Models with a learned vector for every position; others compute positions, and take longer texts
#: than they were trained with.
_LEARNED = _PADDED | {"albert", "bert", "distilbert", "electra"}


def refuse_cross_encoder(ref: ModelRef) -> None:
    """See that a model gives a vector per text.

    Raises:
        UsageError: it is a cross-encoder, a learned sparse encoder, or one of late interaction.
    """
    if ref.kind == "late-interaction":
        raise UsageError(
            "this model gives a vector for every token (late interaction), and none per text",
            where=ref.spec,
            hint="Have it score candidates: negmine rerank --scorer NAME=MODEL.",
        )
    if ref.kind == "sparse-encoder":
        raise UsageError(
            "this model gives weights of terms (learned sparse), and no vector per text",
            where=ref.spec,
            hint="Have an index searched by it: negmine index --encoder NAME=MODEL.",
        )
    if ref.kind == "cross-encoder":
        raise UsageError(
            "this is a cross-encoder; it scores pairs and gives no vectors",
            where=ref.spec,
            hint="Name a bi-encoder here, and this model where a reranker is asked for.",
        )


def check_encoder(ref: ModelRef, settings: EncoderSettings) -> None:
    """See that a bi-encoder's settings are such that it can honour, by its files alone.

    Raises:
        UsageError: the model is no bi-encoder, or cannot do what is asked for.
    """
    refuse_cross_encoder(ref)
    check(ref, settings)
    if settings.pooling == "auto" and settings.truncate_dim is None:
        return
    folder = local_folder(ref)
    modules = _modules(folder)
    if modules is None:
        return
    if settings.pooling != "auto" and sum(_is(one, "Pooling") for one in modules) != 1:
        refuse_pooling(ref)
    dimension = _dimension(folder, modules)
    if dimension is not None:
        settings.truncated(dimension, ref.spec)


def check_sparse(ref: ModelRef, settings: SparseSettings) -> None:
    """See that a model gives weights of terms with its settings, by its files alone.

    Raises:
        UsageError: it gives none that were trained, or cannot do what is asked for.
    """
    if ref.kind != "sparse-encoder" and not is_masked_lm(ref):
        raise UsageError(
            "this is no learned sparse encoder: neither a SparseEncoder of sentence-transformers "
            "nor a masked language model, whose head SPLADE is",
            where=ref.spec,
            hint="Leave --encoder-kind out, and what the files say is what it is.",
        )
    check(ref, settings)


def check_late_interaction(ref: ModelRef, settings: LateInteractionSettings) -> None:
    """See that a model of late interaction can be run with its settings, by its files alone.

    Raises:
        UsageError: it cannot.
    """
    if ref.backend == "onnx":
        raise UsageError(
            "a model of late interaction runs with PyTorch, and the folder has an ONNX graph alone",
            where=ref.spec,
            hint="Name a folder or a hub id with its weights (model.safetensors).",
        )
    check(ref, settings)


def check(ref: ModelRef, settings: Settings) -> None:
    """See that settings which every model has are such that this one can honour.

    Raises:
        UsageError: it cannot.
    """
    if settings.dtype in ("float16", "int8") and ref.backend != "http":
        int8 = isinstance(settings, EncoderSettings | CrossEncoderSettings)
        choose(settings.device, settings.dtype, ref.backend, int8=int8)
    if settings.max_length is not None:
        config = read_json(local_folder(ref) / "config.json")
        fixed = ref.backend == "onnx" or config.get("model_type") in _LEARNED
        checked_length(settings.max_length, positions_of(config) if fixed else None, ref.spec)


def brings_code(ref: ModelRef) -> bool:
    """Whether the files of a model on this machine name Python code of its own."""
    folder = Path(ref.location)
    if not folder.is_dir():
        return False
    inner = [str(module.get("path", "")) for module in _modules(folder) or ()]
    places = [folder, *(folder / place for place in inner)]
    return any("auto_map" in read_json(place / "config.json") for place in places)


def refuse_pooling(ref: ModelRef) -> NoReturn:
    """Refuse another pooling.

    Raises:
        UsageError: always.
    """
    raise UsageError(
        "the model has no pooling of its own to replace", where=f"--pooling, {ref.spec}"
    )


def positions_of(config: Mapping[str, Any]) -> int | None:
    """How many tokens a model has positions for; None where its configuration does not say."""
    positions = config.get("max_position_embeddings")
    if positions and config.get("model_type") in _PADDED:
        positions -= int(config.get("pad_token_id", 1)) + 1
    return int(positions) if positions else None


def checked_length(asked: int | None, positions: int | None, where: str) -> int | None:
    """``asked``, if the model has that many positions."""
    if asked is None:
        return None
    if asked < 1:
        raise UsageError(f"max length must be at least 1, got {asked}", where="--max-length")
    if positions and asked > positions:
        raise UsageError(
            f"max length {asked} is more than the model's {positions} positions",
            where=f"--max-length, {where}",
            hint=f"Use --max-length {positions} or less.",
        )
    return asked


def _modules(folder: Path) -> list[Mapping[str, Any]] | None:
    """What sentence-transformers makes the model of; None where the files do not tell."""
    file = folder / "modules.json"
    if not file.is_file():
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return found if isinstance(found, list) else None


def _is(module: Mapping[str, Any], name: str) -> bool:
    return str(module.get("type", "")).rpartition(".")[2] == name


def _dimension(folder: Path, modules: list[Mapping[str, Any]]) -> int | None:
    """Numbers of a vector, by the last module that changes how many there are."""
    for module in reversed(modules):
        config = read_json(folder / str(module.get("path", "")) / "config.json")
        if _is(module, "Dense"):
            return int(config["out_features"]) if "out_features" in config else None
        if _is(module, "Pooling"):
            return _pooled(config)
        if not _is(module, "Normalize"):
            return None
    return None


def _pooled(config: Mapping[str, Any]) -> int | None:
    """Numbers of a pooled vector: those of a token, once for each way to pool."""
    each = config.get("embedding_dimension", config.get("word_embedding_dimension"))
    if not isinstance(each, int):
        return None
    modes = config.get("pooling_mode")
    if isinstance(modes, list):
        return each * len(modes)
    ways = sum(on is True for key, on in config.items() if key.startswith("pooling_mode_"))
    return each * max(1, ways)
