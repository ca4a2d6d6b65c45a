"""How far scores may drift with the number of threads and what else is in a batch.

`docs/reliability.md` states these bounds. float32 sums are ordered by the library, so the last
digits may differ; more than this would be another model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from negmine.models.base import CrossEncoderSettings, EncoderSettings
from negmine.models.cross_encoders import load_cross_encoder
from negmine.models.encoders import load_encoder
from negmine.models.resolve import resolve
from tests.tiny_models import texts

#: Of a vector's components (vectors have length 1), and of a logit.
VECTOR, LOGIT = 1e-5, 1e-4
DOCUMENTS = texts(60, seed=4, longest=120)
QUERIES = texts(8, seed=5, longest=20)
PAIRS = np.array([(q, d) for q in range(8) for d in range(0, 60, 3)])


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    import torch

    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def vectors(folder: Path, batch_size: int) -> np.ndarray:
    settings = EncoderSettings(device="cpu", dtype="float32", batch_size=batch_size)
    return load_encoder(resolve(str(folder)), settings).encode(DOCUMENTS, "document")


def logits(folder: Path, batch_size: int) -> np.ndarray:
    settings = CrossEncoderSettings(
        device="cpu", dtype="float32", batch_size=batch_size, activation="none"
    )
    return load_cross_encoder(resolve(str(folder)), settings).score(QUERIES, DOCUMENTS, PAIRS)


def test_vectors(tiny_bi: Path, threads: Callable[[int], None]) -> None:
    threads(1)
    alone = vectors(tiny_bi, 8)
    # The same settings give the same bytes.
    assert vectors(tiny_bi, 8).tobytes() == alone.tobytes()
    for count, batch_size in ((2, 8), (1, 3), (2, 32)):
        threads(count)
        assert np.abs(vectors(tiny_bi, batch_size) - alone).max() <= VECTOR
    # The bound tells documents apart.
    assert np.abs(alone[1] - alone[2]).max() > 100 * VECTOR


def test_scores(tiny_cross: Path, threads: Callable[[int], None]) -> None:
    threads(1)
    alone = logits(tiny_cross, 8)
    assert logits(tiny_cross, 8).tobytes() == alone.tobytes()
    for count, batch_size in ((2, 8), (1, 3), (2, 32)):
        threads(count)
        assert np.abs(logits(tiny_cross, batch_size) - alone).max() <= LOGIT
    assert np.ptp(alone) > 100 * LOGIT
