"""The vectors that a batcher compares: whose they are, and queries encoded by the same model."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from negmine import log
from negmine.endpoints.budget import Budget
from negmine.errors import UsageError, did_you_mean
from negmine.params.export import ExportParams
from negmine.params.llm import idle
from negmine.params.per_model import names_in, recorded
from negmine.params.values import per_name
from negmine.stages import cores
from negmine.table.artifacts.reading import Artifact
from negmine.table.candidates import Candidates


@dataclass(frozen=True)
class Servers:
    """Encoders behind HTTP that encode the queries of batches.

    Attributes:
        spending: what all that the command asks may take together.
        place: the folder in which their answers are kept.
        trial: whether nobody is asked, because the work is only estimated.
        spent: takes what was asked, by encoder.
    """

    spending: Budget
    place: Path
    trial: bool = False
    spent: dict[str, dict[str, Any]] = field(default_factory=dict)


def check(params: ExportParams, ledger: Candidates) -> None:
    """See, before anything is read, which encoder's vectors are compared, and where it is.

    Raises:
        UsageError: there is none, or no such one, or it is said to be elsewhere and is not.
    """
    from negmine.sources.encoded import check_elsewhere, is_behind

    name, made = _compared(params, ledger)
    check_elsewhere(params.encoder, {name: made}, "--batcher compares no vectors")
    if (told := idle(params)) and not is_behind(made, name):
        log.warn(told)


def calls_for(params: ExportParams, ledger: Candidates, queries: int) -> int:
    """Most calls that encoding so many queries for batches takes; 0 where no server is asked."""
    from negmine.sources.encoded import calls_of

    if params.batcher is None:
        return 0
    name, made = _compared(params, ledger)
    calls = calls_of(made, name, _batch_size(ledger, name))
    return 0 if calls is None else calls(queries)


def _batch_size(ledger: Candidates, name: str) -> int:
    """Most queries in a model call, as when the candidates were retrieved."""
    return int(recorded(ledger.retrieved.params.get("batch_size", 128), name))


def _compared(params: ExportParams, ledger: Candidates) -> tuple[str, Artifact]:
    """The encoder whose vectors the batcher compares, and these.

    Raises:
        UsageError: there is none, or no such one.
    """
    known = ledger.dense
    name = params.batch_by or (known[0] if known else None)
    if name is None:
        raise UsageError(
            "--batcher compares vectors, and the candidates came from no encoder",
            hint="Index with --encoder NAME=MODEL, and retrieve with --source NAME.",
        )
    if name not in known:
        raise UsageError(f"--batch-by: no encoder '{name}'", hint=did_you_mean(name, known))
    return name, ledger.vectors(name)


def vectors(
    texts: list[str],
    positives: pa.Array | pa.ChunkedArray,
    params: ExportParams,
    ledger: Candidates,
    servers: Servers,
) -> tuple[np.ndarray, np.ndarray]:
    """A vector per query, and one of a positive of each.

    Args:
        texts: of the queries.
        positives: an id of a document for each.
        params: which encoder's are compared.
        ledger: the table.
        servers: for an encoder behind HTTP.

    Raises:
        NegmineError: the encoder cannot be loaded, or its server does not answer.
    """
    from negmine.sources.vectors import Vectors

    name, made = _compared(params, ledger)
    of_positives = Vectors(made).take(ledger.documents.rows(positives))
    return _encoded(texts, name, made, params, ledger, servers), of_positives


def _encoded(
    texts: list[str],
    name: str,
    made: Artifact,
    params: ExportParams,
    ledger: Candidates,
    servers: Servers,
) -> np.ndarray:
    """A vector per query, by the encoder that made the documents'."""
    from negmine.models.random_encoder import RandomEncoder
    from negmine.sources.dense import load_query_encoder
    from negmine.sources.encoded import Behind, OfQueries, Server, is_behind

    known, asked = ledger.dense, ledger.retrieved.params
    said = tuple(asked.get("query_prompt", ()))
    # Others' names are known: what begins with one is no prompt for all.
    prompts = per_name(said, dict.fromkeys([*known, *names_in(said)], ""), "--query-prompt")
    cores.take(params.threads)
    batch_size = _batch_size(ledger, name)
    server = Server(params, params.encoder, servers.place, servers.spending)
    how = OfQueries(prompts.get(name), batch_size, params.device, params.trust_remote_code, server)
    if servers.trial and is_behind(made, name):
        return RandomEncoder(int(made.counts["dimension"])).encode(texts, "query")
    encoder = load_query_encoder(made, name, how)
    log.event(f"encoding {len(texts)} queries with {name} for the batches")
    if not isinstance(encoder, Behind):
        return encoder.encode(texts, "query")
    try:
        return encoder.encode(texts, "query")
    finally:
        servers.spent[name] = encoder.spent()
        encoder.close()
