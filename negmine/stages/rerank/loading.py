"""Scorers loaded, once for each GPU that they share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from negmine.models.devices import gpus
from negmine.params.rerank import RerankParams
from negmine.scorers import HasPlacement, Scorer
from negmine.stages import cores
from negmine.stages.rerank.setup import Setup


def on_every_gpu(params: RerankParams, setup: Setup) -> list[dict[str, Scorer]]:
    """All scorers, which take the threads asked for, once for each GPU that they share."""
    cores.take(params.threads)
    first = {name: setup.load(name, params) for name in setup.references}
    on = shared_gpus(params, first.values())
    others = [replace(params, device=device) for device in on[1:]]
    return [first, *({name: setup.load(name, one) for name in first} for one in others)]


def shared_gpus(params: RerankParams, scorers: Iterable[Scorer]) -> list[str]:
    """The GPUs among which the parts are shared; none where a scorer runs elsewhere.

    Of another package's scorer it is not known where it runs: there is one of it.
    """
    used = {
        scorer.placement.device if isinstance(scorer, HasPlacement) else "" for scorer in scorers
    }
    return gpus(params.device, used.pop()) if len(used) == 1 else []
