"""How well the judges of a ledger judge, as its manifests have it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from negmine.table.artifacts.reading import Artifact

HEADS = (
    *("judge", "asked", "AUC", "positives called no", "others called yes", "without a verdict"),
    "verdicts that change",
)
_NONE = "-"


def examined(artifacts: Iterable[Artifact]) -> list[Sequence[str]]:
    """A row for each way in which each judge was examined; none where nobody judged."""
    found: list[Sequence[str]] = []
    for artifact in artifacts:
        for name, described in artifact.manifest.get("scorers", {}).items():
            said = described.get("examination")
            if said is None:
                continue
            found.append(_row(name, "as it was for the table", said))
            for how, other in said["otherwise"].items():
                found.append(_row(name, how, other))
    return found


def _row(name: str, how: str, said: Mapping[str, Any]) -> Sequence[str]:
    area = said["auc"]
    shares = (said.get(key) for key in ("missed", "accepted", "unjudged", "verdicts_changed"))
    return (
        name,
        how,
        _NONE if area is None else f"{area[0]:.3f} ({area[1]:.3f} to {area[2]:.3f})",
        *(_NONE if one is None else _share(one) for one in shares),
    )


def _share(found: Sequence[float]) -> str:
    return f"{found[0]:.0%} ({found[1]:.0%} to {found[2]:.0%})"
