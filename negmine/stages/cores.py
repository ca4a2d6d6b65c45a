"""The threads of a stage, decided before it loads anything."""

from __future__ import annotations

import os
import sys

from negmine import log, processors


def take(asked: int | None) -> None:
    """Take ``--threads``, or what may be used, for all that this process computes.

    Libraries that are loaded already are told here, those that come later read the environment;
    models get the number when they are loaded.
    """
    from threadpoolctl import threadpool_limits

    found = processors.take(asked)
    if found.hint is not None:
        log.event(found.hint, threads=found.threads)
    os.environ["OMP_NUM_THREADS"] = str(found.threads)
    threadpool_limits(limits=found.threads)
    if "faiss" in sys.modules:
        sys.modules["faiss"].omp_set_num_threads(found.threads)
