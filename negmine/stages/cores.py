"""The threads of a stage, decided before it loads anything."""

from __future__ import annotations

from negmine import log, processors


def take(asked: int | None) -> None:
    """Take ``--threads``, or the cores that may be used, for all that this process computes.

    Libraries are told here, FAISS among them though nothing may need it: loaded later, it would
    take what the machine has. Models are told when they are loaded, so this comes before.
    """
    import faiss
    from threadpoolctl import threadpool_limits

    found = processors.take(asked)
    if found.hint is not None:
        log.event(found.hint, threads=found.threads)
    threadpool_limits(limits=found.threads)
    faiss.omp_set_num_threads(found.threads)
