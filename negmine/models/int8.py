"""A transformer whose layers multiply whole numbers of 8 bits, for CPUs without bfloat16 units.

Weights are rounded once, with a scale for each output; a token's vector is rounded when it is
multiplied, with a scale of its own. So what comes out of a text depends on no other in its batch,
and nothing has to be learned from a sample before. Attention, normalisation, activations, pooling
and the head stay float32. How much of what float32 finds is found so hangs on the model and the
texts, and is for :mod:`negmine.models.trial` to say.
"""

from __future__ import annotations

from typing import Any

import torch

from negmine.errors import UsageError
from negmine.models.reading import NotAsKnown, Read, distance

#: Largest rounded weight. Kernels for AVX2 add two products of 8 bits in 16: 255 * 64 * 2 is the
#: most that fits, and more would be cut off without a word.
_WEIGHT = 64
#: Largest rounded entry of a token's vector.
_ENTRY = 127
#: What the kernels read as 0: entries are given as numbers from 1 to 255.
_ZERO = 128
#: Scales are no less: of zeros alone none is needed.
_TINY = 1e-30
#: Farther from float32, as a share of the output's norm, it is no rounding any more.
_APART = 0.5


def kernels() -> bool:
    """Whether this PyTorch multiplies such numbers on CPUs: by oneDNN."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.onednn, "qlinear_pointwise")


class _Linear(torch.nn.Module):  # type: ignore[misc]
    """A linear layer, its inputs rounded token by token."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach()
        self.scales = (weight.abs().amax(dim=1) / _WEIGHT).clamp_min(_TINY)
        rounded = (weight / self.scales[:, None]).round().to(torch.int8)
        self.packed = torch.ops.onednn.qlinear_prepack(rounded, None)
        self.zeros = torch.zeros(len(weight), dtype=torch.int32)
        self.bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        """``[..., inputs]`` to ``[..., outputs]``."""
        scale = given.abs().amax(dim=-1, keepdim=True).clamp_min_(_TINY).div_(_ENTRY)
        entries = (given / scale).round_().to(torch.int8)
        # Of two's complement the other first bit is 128 more, and PyTorch converts to int8 faster.
        entries = entries.view(torch.uint8).bitwise_xor_(_ZERO)
        made: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            *(entries, 1.0, _ZERO, self.packed, self.scales, self.zeros, None),
            *(1.0, 0, torch.float32, "none", [], ""),
        )
        made.mul_(scale)
        return made if self.bias is None else made.add_(self.bias)


def into_int8(model: Any, spec: str) -> None:
    """Round the linear layers of a transformer's repeated layers; the model is changed in place.

    Args:
        model: a SentenceTransformer or CrossEncoder on a CPU, in float32.
        spec: its name, for messages.

    Raises:
        UsageError: PyTorch has no such kernels for this processor, or the model is of another kind.
    """
    if not kernels():
        raise _refused("PyTorch has no kernels of 8 bits here", spec)
    try:
        read = Read.of(model[0])
        with torch.inference_mode():
            probes = read.probes()
            wanted = [read(**probe) for probe in probes]
            if not _rounded(read.model):
                raise NotAsKnown("it has no repeated layers")
            made = [read(**probe) for probe in probes]
    except Exception as error:  # a model's own code may raise anything
        raise _refused(f"the model cannot run in int8: {error}", spec) from error
    apart = max(map(distance, made, wanted))
    if not apart <= _APART:
        raise _refused(f"the model cannot run in int8: its output differs by {apart:.2g}", spec)


def _rounded(model: torch.nn.Module) -> int:
    """Replace linear layers; returns how many."""
    count = 0
    for layers in [one for one in model.modules() if isinstance(one, torch.nn.ModuleList)]:
        for module in list(layers.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, torch.nn.Linear):
                    setattr(module, name, _Linear(child))
                    count += 1
    return count


def _refused(why: str, spec: str) -> UsageError:
    return UsageError(why, where=f"--dtype int8, {spec}", hint="Use --dtype float32, or auto.")
