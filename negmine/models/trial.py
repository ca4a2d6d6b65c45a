"""Which runtime and format a model gets for an artifact: tried on the user's own texts, and kept.

In float32 OpenVINO gives what PyTorch gives to five digits, and which of them is faster hangs on
the processor. So both read a sample of the texts, in turns, about a second, and the faster one is
taken. What was taken is the artifact's: a run that goes on takes it again and tries nothing, on
whatever machine, for a part must not hang on when a run was cut short.

int8 is only ever asked for. It is compared with float32 on such a sample, and gives way to it where
they agree too little. How much faster it is there is told, and decides nothing: it shows in more
than last digits, which must not hang on a clock.

A clock decides between runtimes, so two runs may choose differently. That shows in last digits
alone, and only where there is so much to read that the trial is worth its time: what is small stays
with PyTorch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from negmine import log
from negmine.models.devices import Placement, openvino_installed
from negmine.models.tokens import Ints
from negmine.models.torch_models import TorchModel

#: Multiplications and additions of all that is to be read, from which on a trial is worth its time:
#: with compiling it takes that of some 3e11 of them, and may gain a quarter.
WORTH = 5e12
#: Likewise of a sample: some tenths of a second for each runtime.
_SAMPLE = 3e10
#: Fewest rows of that sample.
_LEAST = 4
_ROUNDS = 3
#: How much faster OpenVINO must be. Nearer than that the clock would decide for nothing.
_FASTER = 1.03
#: How much slower it is where no further round is made: PyTorch runs the model anyway.
_SLOWER = 1.15
#: Largest distance from PyTorch's output, as a share of its norm: five digits.
APART = 1e-5
#: Likewise of a sample on which int8 is compared with float32: some seconds, once.
_COMPARED = 5e11
#: Fewest rows of that, however large the model, and fewest of which anything is told.
_COMPARED_ROWS, _TELLING = 24, 5
#: Least agreement of int8 with float32, of scores (1 axis) and of vectors (2).
_AGREE = {1: 0.98, 2: 0.85}

M = TypeVar("M", bound=TorchModel)
#: What a model makes of some rows.
Run = Callable[[M, Ints], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Chosen:
    """How a model runs for one artifact.

    Attributes:
        device: ``cpu`` or ``cuda``; the choice holds there alone.
        dtype: number format.
        runtime: ``torch`` or ``openvino``.
        faster: how many times as fast as float32 by PyTorch the other one was in the trial,
            OpenVINO or int8; None = not tried.
        apart: how far its output was from PyTorch's, as a share of its norm; None = not tried.
        agreement: of int8 with float32, by :func:`agreement`; None = not tried.
    """

    device: str
    dtype: str
    runtime: str
    faster: float | None = None
    apart: float | None = None
    agreement: float | None = None

    @classmethod
    def of(cls, placement: Placement) -> Chosen:
        """What a loaded model has by itself."""
        return cls(placement.device.partition(":")[0], placement.dtype, placement.runtime)

    @classmethod
    def read(cls, recorded: Mapping[str, Any]) -> Chosen:
        """From what :meth:`told` gave."""
        return cls(**recorded)

    def told(self) -> dict[str, Any]:
        """As a journal and a manifest hold it."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def is_how(self, placement: Placement) -> bool:
        """Whether a model runs so, or elsewhere, where the choice does not hold."""
        own = Chosen.of(placement)
        same = (own.dtype, own.runtime) == (self.dtype, self.runtime)
        return same or (own.device, self.device) != ("cpu", "cpu")


def settle(
    model: M,
    before: Mapping[str, Any] | None,
    rows: Callable[[], int],
    sample: Callable[[], tuple[Ints, Run[M]]],
    load: Callable[[Any], M],
) -> tuple[M, dict[str, Any]]:
    """The model as it runs for an artifact.

    Args:
        model: as it was loaded.
        before: what was chosen for this artifact, which is then taken again; None = nothing yet.
        rows: how many rows it will read.
        sample: (tokens of each row of a sample of that, what a model makes of rows of the sample).
        load: loads it anew, with other settings.

    Returns:
        The model, the same one or another beside it, which stays as it was, and how it runs
        (:meth:`Chosen.told`).

    Raises:
        MissingDependencyError: what was chosen before is not installed here.
    """
    if before is not None:
        chosen = Chosen.read(before)
        if not chosen.is_how(model.placement):
            log.event(
                f"{model.ref.spec}: runs in {chosen.dtype} by {chosen.runtime}, as what is there "
                "was made"
            )
            model = load(replace(model.settings, dtype=chosen.dtype, runtime=chosen.runtime))
        return model, chosen.told()
    own = Chosen.of(model.placement)
    if (own.dtype, own.runtime) == ("int8", "torch"):
        taken, chosen = _near_enough(model, sample, load)
        return taken, chosen.told()
    if not _is_open(model):
        return model, own.told()
    each = _work(model.model)
    lengths, run = sample() if each else (np.empty(0, dtype=np.int64), None)
    if run is None or not len(lengths) or each * lengths.mean() * rows() < WORTH:
        return model, own.told()
    some = _some(each * lengths, _SAMPLE, _LEAST)
    taken, chosen = _tried(model, lambda one: run(one, np.arange(min(some, len(lengths)))))
    return taken, chosen.told()


def will_be_held(model: object, tokens: float) -> bool:
    """Whether a trial decides what runs a loaded model, if it is to read so many tokens."""
    if not isinstance(model, TorchModel) or not _is_open(model):
        return False
    each = _work(model.model)
    return each > 0 and each * tokens >= WORTH


def _is_open(model: TorchModel) -> bool:
    own = Chosen.of(model.placement)
    free = model.settings.runtime == "auto" and openvino_installed()
    return free and (own.device, own.dtype, own.runtime) == ("cpu", "float32", "torch")


def _near_enough(
    model: M, sample: Callable[[], tuple[Ints, Run[M]]], load: Callable[[Any], M]
) -> tuple[M, Chosen]:
    """A model in int8, or in float32 where they agree too little on a sample."""
    lengths, run = sample()
    if len(lengths) < _TELLING:
        few = f"{len(lengths)} texts are too few to compare that with float32"
        log.warn([f"{model.ref.spec}: runs in int8; {few}"])
        return model, Chosen.of(model.placement)
    exact = load(replace(model.settings, dtype="float32", runtime="torch"))
    enough = _some(_work(exact.model) * lengths, _COMPARED, _COMPARED_ROWS)
    some = np.arange(min(enough, len(lengths)))
    made, seconds = _timed(lambda rows: run(model, rows), some)
    want, exact_seconds = _timed(lambda rows: run(exact, rows), some)
    faster = round(exact_seconds / max(seconds, 1e-9), 2)
    found = agreement(made, want)
    least = _AGREE[made.ndim]
    taken = model if found >= least else exact
    what = "of the nearest texts are the same" if made.ndim == 2 else "is the rank correlation"
    told = f"{model.ref.spec}: {found:.3f} {what} in int8 and float32, on a sample of {len(some)}"
    if taken is exact:
        log.warn([f"{told} (at least {least} must be): it runs in float32"])
    elif faster < 1:
        log.warn(
            [f"{told}; it runs in int8, {faster:.2f} times as fast: --dtype float32 is better"]
        )
    else:
        log.event(f"{told}: it runs in int8, {faster:.2f} times as fast")
    chosen = replace(Chosen.of(taken.placement), agreement=round(found, 4), faster=faster)
    return taken, chosen


def _timed(
    run: Callable[[Ints], npt.NDArray[np.float32]], rows: Ints
) -> tuple[npt.NDArray[np.float32], float]:
    """What a model makes of rows, and in how many seconds: it is warmed up by the first few."""
    run(rows[:_LEAST])
    started = time.perf_counter()
    return run(rows), time.perf_counter() - started


def agreement(made: npt.NDArray[np.float32], want: npt.NDArray[np.float32]) -> float:
    """How far two outputs order the same things in the same way, 1 at most.

    Args:
        made: vectors ``[n, dimension]``, or scores ``[n]``.
        want: those to compare with.

    Returns:
        Of vectors the share of each one's nearest others, a sixth of them and ten at most, that are
        the same in both; of scores the correlation of their ranks (Spearman's).
    """
    if made.ndim == 1:
        middle = (len(made) - 1) / 2
        left, right = (np.argsort(np.argsort(scores)) - middle for scores in (made, want))
        return float(left @ right / np.sqrt((left @ left) * (right @ right)))
    count = max(1, min(10, len(made) // 6))
    nearest = []
    for vectors in (made, want):
        near = vectors @ vectors.T
        np.fill_diagonal(near, -np.inf)
        nearest.append(np.argpartition(-near, count - 1, axis=1)[:, :count])
    same = [len(np.intersect1d(*rows)) for rows in zip(*nearest, strict=True)]
    return float(np.mean(same)) / count


def _some(work: npt.NDArray[Any], most: float, least: int) -> int:
    """How many of the first rows are so much work; so many at the least."""
    return max(least, int(np.searchsorted(np.cumsum(work), most)))


def _work(model: Any) -> int:
    """Multiplications and additions for each token: those of the linear layers."""
    import torch

    layers = (one for one in model.modules() if isinstance(one, torch.nn.Linear))
    return 2 * sum(one.weight.numel() for one in layers)


def _tried(model: M, run: Callable[[M], npt.NDArray[np.float32]]) -> tuple[M, Chosen]:
    """The model by the faster runtime, if both give the same."""
    from negmine.models.compiled import compiled_beside

    spec = model.ref.spec
    found = compiled_beside(model.model, model.placement, model.settings.threads, spec)
    if found is None:
        return model, Chosen.of(model.placement)
    other = replace(model, model=found[0], placement=found[1])
    made: dict[str, npt.NDArray[np.float32]] = {}
    best: dict[str, float] = {}
    # The first round is not counted: it warms both up.
    for counted in [False, *[True] * _ROUNDS]:
        for one in (model, other):
            name = one.placement.runtime
            started = time.perf_counter()
            made[name] = run(one)
            seconds = time.perf_counter() - started
            if counted:
                best[name] = min(seconds, best.get(name, seconds))
        if counted and best["openvino"] > _SLOWER * best["torch"]:
            break
    apart = _distance(made["openvino"], made["torch"])
    faster = best["torch"] / best["openvino"]
    taken = other if faster >= _FASTER and apart <= APART else model
    chosen = replace(
        Chosen.of(taken.placement), faster=round(faster, 2), apart=float(f"{apart:.1e}")
    )
    told = f"{spec}: OpenVINO is {faster:.2f} times as fast as PyTorch on a sample of the texts"
    if apart > APART:
        told += f", but its output differs by {apart:.1g} of its size (at most {APART:g} may be)"
    log.event(f"{told}: {chosen.runtime} runs it", trial=chosen.told())
    return taken, chosen


def _distance(made: npt.NDArray[np.float32], want: npt.NDArray[np.float32]) -> float:
    """How far one output is from another, as a share of that one's norm."""
    norm = float(np.linalg.norm(want.astype(np.float64)))
    apart = float(np.linalg.norm(made.astype(np.float64) - want.astype(np.float64)))
    return apart / norm if norm else apart
