"""The options of ``rerank``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from negmine.params.option import (
    DEVICE_HELP,
    DTYPE_HELP,
    MEMORY_HELP,
    RUNTIME_HELP,
    TRUST_HELP,
    Device,
    Dtype,
    Runtime,
    opt,
)


@dataclass(frozen=True)
class RerankParams:
    """``negmine rerank``: one score column per model, for every row or for the best ones."""

    headings: ClassVar[Mapping[str, str]] = {
        "scorer": "Scorers",
        "query_prompt": "Models",
        "batch_size": "Running",
        "limit": "Scorers",
    }

    scorer: tuple[str, ...] = opt(
        (),
        "Score (query, document) pairs with MODEL into column score_NAME (repeatable). MODEL is "
        "a cross-encoder or a bi-encoder: a hub id, a folder, or pkg:PACKAGE/PATH; or "
        "plugin:SCORER of another package (entry point negmine.scorers).",
        metavar="NAME=MODEL",
    )
    top: int | None = opt(
        None,
        "Score only the best N candidates of each query (positives always); the others stay "
        "unscored.",
        metavar="N",
        minimum=1,
    )
    top_by: str | None = opt(
        None, "Column that says which candidates are best; default: best rank over the sources."
    )
    query_prompt: tuple[str, ...] = opt(
        (), "Text before every query, for all scorers or for one.", metavar="[NAME=]PROMPT"
    )
    doc_prompt: tuple[str, ...] = opt(
        (), "Text before every document, for all scorers or for one.", metavar="[NAME=]PROMPT"
    )
    pooling: Literal["auto", "cls", "mean", "last"] = opt(
        "auto", "How an ONNX bi-encoder's token vectors become one; auto reads the model's folder."
    )
    activation: Literal["auto", "none", "sigmoid"] = opt(
        "auto", "Applied to a cross-encoder's logit; auto does what the model's config says."
    )
    max_length: int | None = opt(
        None, "Cut pairs after this many tokens; default: the model's own limit.", minimum=4
    )
    batch_size: int = opt(64, "Most pairs in one model call.", minimum=1)
    device: Device = opt("auto", DEVICE_HELP, affects_output=False)
    memory: str | None = opt(None, MEMORY_HELP, metavar="SIZE", affects_output=False)
    dtype: Dtype = opt("auto", DTYPE_HELP)
    runtime: Runtime = opt("auto", RUNTIME_HELP)
    trust_remote_code: bool = opt(
        False,
        TRUST_HELP,
        flags=("--trust-remote-code/--no-trust-remote-code",),
    )
    limit: int | None = opt(None, "Score only the first N queries.", metavar="N", minimum=1)
