"""The threads of a stage, decided before it loads anything."""

from __future__ import annotations

from negmine import log, processors


def take(asked: int | None) -> None:
    """Take ``--threads``, or what is free, for all that this process computes; tell if it is less.

    Libraries that are loaded already are told here, models when they are loaded.
    """
    import faiss
    from threadpoolctl import threadpool_limits

    found = processors.take(asked)
    if found.hint is not None:
        log.event(found.hint, threads=found.threads)
    threadpool_limits(limits=found.threads)
    faiss.omp_set_num_threads(found.threads)
