"""The sample of a ledger's negatives: how it is drawn, and its rows with their texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from negmine.commands.audit.sampled import drawing, measuring, population
from negmine.commands.audit.sampled.drawing import Draw
from negmine.commands.audit.sampled.filled import Filled
from negmine.commands.audit.sampled.sheets import Row, Sheet
from negmine.commands.audit.sampled.verdicts import Judge
from negmine.errors import InvalidDataError
from negmine.params.commands import AuditParams
from negmine.table.candidates import Candidates

#: Letters of a ledger's fingerprint that a sheet names.
_NAMED = 16


@dataclass(frozen=True)
class Sample:
    """The drawn rows, and the sheet that tells them.

    Attributes:
        rows: the rows (:data:`negmine.commands.audit.sampled.drawing.ROWS`), in the sheet's order.
        number: how many of each stratum.
        sheet: the rows with their texts.
    """

    rows: pa.Table
    number: Sequence[int]
    sheet: Sheet

    def told(self, people: population.Population) -> dict[str, Any]:
        """For the report: of each stratum how many there are and were drawn."""
        sizes, names = _strata(people, self.sheet.draw)
        strata = {
            name: {
                "negatives": size,
                "drawn": number,
                "probability": round(number / size, 6),
            }
            for name, size, number in zip(names, sizes.tolist(), self.number, strict=True)
            if size
        }
        return {"drawn": self.rows.num_rows, "draw": self.sheet.draw.told, "strata": strata}


def draw_of(audit: AuditParams, judge: Judge | None, files: Sequence[Filled]) -> Draw:
    """How rows are drawn: as asked, or as the filled-in sheets were.

    Raises:
        InvalidDataError: the sheets were drawn otherwise.
    """
    by_judge = Draw(audit.sample, audit.sample_seed, _named(judge))
    if not files:
        return by_judge
    whole = Draw(audit.sample, audit.sample_seed)
    told = {file.one("draw") for file in files}
    for draw in (by_judge, whole):
        if told == {draw.told}:
            return draw
    other = next((file for file in files if file.one("draw") != by_judge.told), files[0])
    said = other.one("draw") or "several draws"
    raise InvalidDataError(
        f"--gold: is of another draw: {said}; asked for is {by_judge.told}",
        where=other.path,
        hint="Give the options with which the sheet was written. A sheet that was drawn without "
        "--judge serves any judge.",
    )


def _named(judge: Judge | None) -> str:
    if judge is None:
        return ""
    return judge.name if judge.cut is None else f"{judge.name} --judge-cut {judge.cut:g}"


def _strata(people: population.Population, draw: Draw) -> tuple[np.ndarray, Sequence[str]]:
    """Negatives of each stratum of a draw, int64 [strata], and the strata's names."""
    sizes = measuring.sizes_of(people)
    return (sizes, measuring.STRATA) if draw.judge else (sizes.sum(keepdims=True), ("all",))


def sample_of(ledger: Candidates, people: population.Population, draw: Draw) -> Sample:
    """Draw from a ledger, and look up the texts of what is drawn."""
    number = drawing.allocate(_strata(people, draw)[0], draw.size)
    rows = drawing.drawn(people.candidates, number)
    sheet = Sheet(ledger.fingerprint[:_NAMED], draw, list(_with_texts(ledger, rows)))
    return Sample(rows, number.tolist(), sheet)


def _with_texts(ledger: Candidates, rows: pa.Table) -> Iterator[Row]:
    texts = ledger.documents.texts_by_id(rows.column("docid").to_pylist())
    drawn = rows.column("qid").combine_chunks()
    asked = ledger.query_texts(rows.column("part").to_pylist(), drawn)
    for qid, docid in drawing.pairs(rows):
        yield Row(qid, docid, asked[qid], texts[docid])
