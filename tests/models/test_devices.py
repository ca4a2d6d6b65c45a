from __future__ import annotations

from pathlib import Path

import pytest

from negmine.errors import MissingDependencyError, UsageError
from negmine.models.devices import choose, cpu_has_bfloat16, gpus


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fpu avx512_bf16 sse", True), ("fpu amx_bf16", True), ("fpu avx512f bf16", False)],
)
def test_reads_the_cpu_flags(tmp_path: Path, flags: str, expected: bool) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t:\n")
    assert cpu_has_bfloat16(file) is expected


def test_no_cpuinfo_no_bfloat16(tmp_path: Path) -> None:
    assert not cpu_has_bfloat16(tmp_path / "none")


def test_auto_on_a_cpu_follows_the_hardware() -> None:
    placement = choose("cpu", "auto")
    assert placement.dtype == ("bfloat16" if cpu_has_bfloat16() else "float32")
    assert "bfloat16 unit" in placement.reason


def test_float16_on_a_cpu_is_refused() -> None:
    with pytest.raises(UsageError, match="float16 is not supported on a CPU"):
        choose("cpu", "float16")


@pytest.mark.parametrize("device", ["gpu", "cuda:", "CPU", "cpu "])
def test_unknown_device(device: str) -> None:
    with pytest.raises(UsageError, match="unknown device"):
        choose(device)


def test_unknown_dtype() -> None:
    with pytest.raises(UsageError, match="unknown dtype"):
        choose("cpu", "float8")  # type: ignore[arg-type]


def test_a_missing_gpu() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(MissingDependencyError, match="no usable GPU"):
        choose("cuda:1")
    assert choose("auto", "float32").device == "cpu"


def test_all_gpus_share_the_work_where_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert gpus("auto", "cpu") == []
    assert gpus("auto", "cuda") == gpus("cuda", "cuda") == ["cuda:0", "cuda:1"]
    assert gpus("cuda:1", "cuda:1") == ["cuda:1"]
