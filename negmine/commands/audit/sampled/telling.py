"""An audit by sample in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def share(found: Mapping[str, Any] | None) -> str:
    """An estimate with its interval: ``3.1% [1.9-5.2]``, or ``3.1% to 3.6% [1.9-5.7]``."""
    if found is None:
        return "not known"
    least, most = found.get("at_least", found["value"]), found.get("at_most", found["value"])
    told = f"{100 * least:.1f}%"
    if most != least:
        told += f" to {100 * most:.1f}%"
    return f"{told} [{100 * found['low']:.1f}-{100 * found['high']:.1f}]"


def table(report: Mapping[str, Any]) -> str:
    """The report as plain text."""
    return "\n".join(_lines(report))


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    sample, judge = report["sample"], report["judge"]
    yield f"{report['negatives']:,} negatives of {report['ledger']}; {_by(report)}"
    yield ""
    yield f"contamination  {share(report['contamination'])}"
    if judge is not None:
        yield f"uncorrected    {share(report['uncorrected'])}"
    yield ""
    if judge is not None:
        said = ", ".join(f"{verdict} {count:,}" for verdict, count in judge["negatives"].items())
        of = "the sample, of which alone it was asked" if "asked" in judge else "the negatives"
        yield f"judge '{judge['name']}' ({judge['yes']}) of {of}: {said}"
    if report["how"] == "controls":
        yield from _controls(report["by"])
    yield (
        f"sample: {sample['drawn']:,} negatives ({sample['draw']}): "
        + ", ".join(
            f"{one['drawn']:,} of {one['negatives']:,} {name}"
            for name, one in sample["strata"].items()
        )
    )
    if report["how"] == "gold":
        yield from _gold(report["by"])
    for text in report["assumptions"]:
        yield f"assumed: {text}"


def _by(report: Mapping[str, Any]) -> str:
    level = f"[..] are {round(100 * report['confidence'])}% intervals"
    how = {
        "gold": "by what people said of a sample",
        "controls": "by the judge, corrected by known positives and random documents",
        "nothing": "nothing measured yet",
    }
    return f"{how[report['how']]}; {level}"


def _controls(by: Mapping[str, Any]) -> Iterator[str]:
    for name in ("sensitivity", "false_positive_rate"):
        one = by[name]
        if one["value"] is None:
            yield f"its yes of {one['of']}: not known"
        else:
            yield f"its yes of {one['rows']:,} {one['of']}: {share(one)}"


def _gold(by: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"people answered {by['answered']:,} rows; skipped {by['skipped']:,}, not reached "
        f"{by['not_read']:,}, answered differently {by['differing']:,}"
    )
    for name, one in by["strata"].items():
        said = "neither yes nor no" if name == "neither" else name
        yield (
            f"judge {said}: people read {one['read']:,} of {one['size']:,}, relevant "
            f"{one['relevant']:,}, cannot tell {one['unsure']:,}"
        )
