"""One ceiling on a process's memory, and the sizes of blocks that follow from it.

``--memory`` decides how much is held at a time and never what comes out: every size here may be
any number, and the results are the same bytes. What a process takes whatever the blocks are (the
interpreter, torch, Java, a model's weights) is told beforehand by the stage; blocks share the rest.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from negmine import control_groups
from negmine.errors import UsageError

MIB = 1 << 20
_UNITS = {"": 1, "K": 1 << 10, "M": MIB, "G": 1 << 30}

#: What is resident after the imports, rounded up (Linux x86-64; see docs/architecture.md).
INTERPRETER = 176 * MIB
TORCH = 512 * MIB
#: Tokens of texts that models have read last.
TOKENS = 40 * MIB
ONNX = 64 * MIB
OPENVINO = 192 * MIB
JAVA = 96 * MIB
#: Java's heap is never smaller than this.
LEAST_HEAP = 64 * MIB
#: What the blocks of a stage need at the least.
LEAST_WORK = 64 * MIB
#: Share of the free memory that is taken where no ceiling is given.
_SHARE = 0.5
#: Processes of one run that have it among them.
_among = 1
#: Settings of glibc's malloc by their numbers (``mallopt(3)``): from what size on a block is mapped
#: by itself, the largest that may be said; what may lie free at the heap's end, some outputs of a
#: layer.
_KEEPING = {-3: 32 * MIB, -1: 128 * MIB}
#: With these the user has decided.
_OF_MALLOC = ("GLIBC_TUNABLES", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")


def share_among(processes: int) -> None:
    """Take, where no ceiling is given, no more than each of so many processes on one machine."""
    global _among
    _among = max(1, processes)


def parse(size: str, option: str) -> int:
    """Bytes of a size such as ``500MB``, ``2G`` or ``100000``; K, M, G are powers of 1024.

    Raises:
        UsageError: it is no size.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMG]?)(?:i?B)?\s*", size, re.IGNORECASE)
    if found is None or float(found[1]) == 0:
        raise UsageError(f"{option} '{size}' is no size", hint=f"For example: {option} 500MB")
    return max(1, int(float(found[1]) * _UNITS[found[2].upper()]))


def shown(size: int) -> str:
    """A size for people, such as ``1.5 GiB``."""
    return f"{size / (1 << 30):.1f} GiB" if size >= 1 << 30 else f"{max(1, size // MIB)} MiB"


@dataclass(frozen=True)
class Budget:
    """What a process may hold.

    Attributes:
        ceiling: bytes of the whole process.
        fixed: what is held whatever the blocks, by name.
    """

    ceiling: int
    fixed: Mapping[str, int] = field(default_factory=dict)

    @property
    def work(self) -> int:
        """Bytes for all blocks together."""
        return max(LEAST_WORK, self.ceiling - sum(self.fixed.values()))

    def share(self, fraction: float, most: int, least: int = MIB) -> int:
        """Bytes of a block that may take this fraction of :attr:`work`, within bounds."""
        return max(least, min(most, int(self.work * fraction)))

    @property
    def texts(self) -> int:
        """Document text fetched at once: it is copied a few times on its way."""
        return self.share(1 / 10, 1 << 30)

    @property
    def shingles(self) -> int:
        """Document text taken apart at once: its words and signatures are held, too."""
        return self.share(1 / 10, 512 * MIB)

    @property
    def hits(self) -> int:
        """Bytes of hits that are ranked and joined at once."""
        return self.share(1 / 4, 2 << 30, 8 * MIB)

    @property
    def search(self) -> int:
        """Bytes of a dense search: queries, best rows, and blocks of vectors and scores."""
        return self.share(1 / 4, 4 << 30, 8 * MIB)

    @property
    def lists(self) -> int:
        """Bytes of approximate indexes beyond what one query reads of them."""
        return self.share(1 / 6, 1 << 40, 8 * MIB)

    @property
    def heap(self) -> int:
        """Java's heap: a third of what is left, at most what Lucene has a use for."""
        return self.share(1 / 3, 4 << 30, LEAST_HEAP)


def budget(size: str | None, **fixed: int) -> Budget:
    """The budget of ``--memory SIZE``, or by default of half the free memory.

    Args:
        size: what the user gave.
        fixed: bytes held whatever the blocks; names are told to the user, ``_`` as a space.

    Raises:
        UsageError: the ceiling cannot hold that.
    """
    named = {
        name.replace("_", " "): amount
        for name, amount in {"the_interpreter": INTERPRETER, **fixed}.items()
        if amount
    }
    needed = sum(named.values()) + LEAST_WORK
    # A stage after others in one process finds what they left.
    held = {**named, "earlier_stages": max(0, resident() - sum(named.values()))}
    if size is None:
        return Budget(
            max(int(available() * _SHARE / _among), sum(held.values()) + 4 * LEAST_WORK), held
        )
    ceiling = parse(size, "--memory")
    if ceiling < needed:
        listed = ", ".join(f"{name} {shown(amount)}" for name, amount in named.items())
        raise UsageError(
            f"--memory {size} cannot hold what this needs: {listed}, and {shown(LEAST_WORK)} to "
            "work with",
            hint=f"Give at least --memory {-(-needed // MIB)}MB.",
        )
    return Budget(ceiling, held)


def exceeded(peak: int | None, ceiling: int | None) -> str | None:
    """A warning where a process took more than its ceiling."""
    if peak is None or ceiling is None or peak <= ceiling:
        return None
    return (
        f"peak memory was {shown(peak)}, above the ceiling of {shown(ceiling)}: lower --batch-size "
        "where models ran, or give more with --memory"
    )


# --- what the machine has ---------------------------------------------------------------------


def resident() -> int:
    """Bytes of this process that are in memory now; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


#: Files of a control group, of version 2 and of version 1.
_LIMIT_AND_USE = (
    ("memory.max", "memory.current"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes"),
)


def available(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that this process could still take: the machine's, or its control groups' if less.

    Args:
        proc: where the kernel tells about the machine and this process.
        groups: where it tells about control groups.
    """
    found = [_free(proc / "meminfo")]
    for place in control_groups.folders("memory", proc, groups):
        for names in _LIMIT_AND_USE:
            limit, used = (_number(place / name) for name in names)
            if limit is not None and used is not None:
                found.append(max(0, limit - used))
    return min(found)


def _free(meminfo: Path) -> int:
    try:
        text = meminfo.read_text()
    except OSError:
        text = ""
    match = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
    if match is not None:
        return int(match[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def keep_freed() -> None:
    """Have malloc keep what is freed for what is asked for next, instead of giving it back.

    A layer of a model on a CPU makes outputs of some MiB and frees them: by default the system
    maps, clears and takes back the same pages for each, a fifth of what a model in int8 costs. What
    the process holds at the most is not more. Elsewhere than with glibc nothing is done.
    """
    if sys.platform != "linux" or any(name in os.environ for name in _OF_MALLOC):
        return
    # Not above: every command imports this module, and few load a model.
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for number, size in _KEEPING.items():
            mallopt(number, size)


def give_back() -> None:
    """Have malloc give the system all pages that are freed.

    By itself it keeps what lies below something that is used. Elsewhere than with glibc nothing is
    done.
    """
    if sys.platform != "linux":
        return
    import ctypes

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


# --- facts about the run ----------------------------------------------------------------------


def reset_peak_memory() -> None:
    """Start counting this process's peak memory anew (Linux; elsewhere it counts from start)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_memory() -> int | None:
    """Peak resident bytes of this process since :func:`reset_peak_memory`."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return None
    return None
