"""What became of the records and passages of a training set, counted while it is written back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from negmine.inputs.sets.base import Edited
from negmine.stages.export.fates import Verdict
from negmine.table.conservation import conserve

#: What adds up to what.
_SUMS: Sequence[tuple[str, str, tuple[str, ...]]] = (
    ("records", "records", ("unchanged", "changed", "gone", "unreadable")),
    (
        "given negatives",
        "given",
        ("kept", "removed", "promoted", "promoted_without_place", "lost"),
    ),
    ("positives", "positives", ("positives_kept", "demoted", "positives_lost")),
)
#: What is told, in this order.
_TOLD = (
    *("records", "unchanged", "changed", "gone", "unreadable", "examples"),
    *("given", "kept", "removed", "promoted", "promoted_without_place", "lost"),
    *("unjudged", "positives", "positives_kept", "demoted", "positives_lost"),
)


class Tally:
    """Counts of records, and of their passages."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._removed: Counter[str] = Counter()
        self._unjudged_kept = 0

    def unreadable(self) -> None:
        """A record could not be read."""
        self._counts.update(("records", "unreadable"))

    def stays(self, verdict: Verdict) -> None:
        """A record stays as it is."""
        self._counts.update(("records", "unchanged", "examples"))
        self._passages(verdict)
        self._counts["positives_kept"] += len(verdict.positives)
        self._counts["kept"] += len(verdict.negatives)
        self._unjudged_kept += len(verdict.unjudged)

    def changes(self, verdict: Verdict, edited: Edited) -> None:
        """Something else stands in a record's place, or nothing."""
        counts, fates = self._counts, verdict.fates
        counts.update(("records", "changed" if edited.records else "gone"))
        counts["examples"] += len(edited.records)
        self._passages(verdict)
        stays, kept = fates.of("stays"), sum(fates.positives)
        counts["kept" if edited.stays else "lost"] += len(stays)
        if edited.stays:
            self._unjudged_kept += len(set(stays).intersection(verdict.unjudged))
        if not verdict.given_up:
            counts["demoted"] += len(fates.positives) - kept
        else:
            kept = len(fates.positives)
        counts["positives_kept" if edited.stays else "positives_lost"] += kept
        goes = fates.of("goes")
        counts["removed"] += len(goes)
        self._removed.update(verdict.negatives[number].reason for number in goes)
        counts["promoted"] += len(fates.of("promoted")) - len(edited.homeless)
        counts["promoted_without_place"] += len(edited.homeless)

    def _passages(self, verdict: Verdict) -> None:
        self._counts["positives"] += len(verdict.positives)
        self._counts["given"] += len(verdict.negatives)
        self._counts["unjudged"] += len(verdict.unjudged)

    def conserve(self) -> None:
        """See that nothing was lost without a word."""
        counts = self._counts
        for what, total, parts in _SUMS:
            conserve(what, counts[total], **{name: counts[name] for name in parts})
        conserve("removed negatives", counts["removed"], **self._removed)

    @property
    def examples(self) -> int:
        """Records that are written."""
        return self._counts["examples"]

    @property
    def counts(self) -> dict[str, Any]:
        """What was read, and what became of it."""
        found: dict[str, Any] = {name: self._counts[name] for name in _TOLD}
        return found | {"removed_by": dict(self._removed.most_common())}

    @property
    def warnings(self) -> list[str]:
        """What the user should know."""
        counts, told = self._counts, []
        if self._unjudged_kept:
            told.append(
                f"{self._unjudged_kept} given negatives were not judged and are in no way clean: "
                "they stay as they were (--unjudged leave-out takes them out)"
            )
        if counts["promoted_without_place"]:
            told.append(
                f"{counts['promoted_without_place']} negatives that became positives have no place "
                "in the set and are left out: --format flagembedding holds any number of both"
            )
        if counts["lost"]:
            told.append(
                f"{counts['lost']} clean negatives went with their records, which nothing else can "
                "fill: --format flagembedding holds any number of negatives"
            )
        if counts["unreadable"]:
            told.append(f"{counts['unreadable']} bad records were skipped and are left out")
        return told
