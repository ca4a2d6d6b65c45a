"""What judges say, as columns of the table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from negmine.scorers.base import Scores
from negmine.scorers.judging.verdicts import REASONS, VERDICTS, Judgement

#: Beside the score: of a judge NAME they become ``verdict_NAME``, ``mass_NAME``, ``reason_NAME``.
COLUMNS: Mapping[str, pa.DataType] = {
    "verdict": pa.string(),
    "mass": pa.float32(),
    "reason": pa.string(),
}


def scores_of(judgements: Sequence[Judgement]) -> Scores:
    """Judgements as scores: null where there is no verdict."""
    known = np.array([one.score is not None for one in judgements], dtype=bool)
    score = np.array([one.score or 0.0 for one in judgements], dtype=np.float32)
    mass = np.array([np.nan if one.mass is None else one.mass for one in judgements], np.float32)
    # A probability that is no number says why beside it, and stands nowhere itself.
    finite = np.isfinite(mass)
    return Scores(
        score,
        {
            "verdict": pa.array([one.verdict for one in judgements], pa.string()),
            "mass": pa.array(np.where(finite, mass, 0).astype(np.float32), mask=~finite),
            "reason": pa.array([one.reason for one in judgements], pa.string()),
        },
        known,
    )


def counted(columns: Mapping[str, pa.Array | pa.ChunkedArray]) -> dict[str, int]:
    """How often each verdict was given, and each reason for none."""
    found: Counter[str] = Counter(columns["verdict"].to_pylist())
    reasons: Counter[str] = Counter(columns["reason"].to_pylist())
    return {
        **{verdict: found[verdict] for verdict in VERDICTS if found[verdict]},
        **{reason: reasons[reason] for reason in REASONS if reasons[reason]},
    }
