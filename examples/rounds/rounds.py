"""Mine, train some steps, mine again with the checkpoint: a command and a short training per round.

python rounds.py ance --model sentence-transformers/all-MiniLM-L6-v2 --work work/ance \
    --corpus corpus.jsonl --queries queries.jsonl --qrels qrels.tsv
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from datasets import load_dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.training_args import BatchSamplers


def mine(number: int, model: str, asked: argparse.Namespace, rest: list[str]) -> str:
    """Run a round of the recipe; the path of its training set is all that goes to stdout."""
    command = ["run", asked.recipe, "-o", asked.work, "--encoder", f"student={model}", *rest]
    ran = subprocess.run(
        [sys.executable, "-m", "negmine", *command, "--round", str(number)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return ran.stdout.strip()


def train(model: str, examples: str, folder: str, asked: argparse.Namespace) -> str:
    """Train some steps on what was mined; returns the checkpoint."""
    data = load_dataset("parquet", data_files=examples, split="train")
    student = SentenceTransformer(model, device=asked.device)
    arguments = SentenceTransformerTrainingArguments(
        output_dir=folder,
        max_steps=asked.steps,
        per_device_train_batch_size=asked.batch_size,
        learning_rate=2e-5,
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        save_strategy="no",
        report_to="none",
        use_cpu=asked.device == "cpu",
    )
    loss = MultipleNegativesRankingLoss(student)
    SentenceTransformerTrainer(student, arguments, train_dataset=data, loss=loss).train()
    student.save_pretrained(f"{folder}/final")
    return f"{folder}/final"


def main() -> None:
    """All rounds; what is not known here goes to ``negmine run``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("recipe", help="one whose encoder is called student: ance, conan, yours")
    parser.add_argument("--model", required=True, help="where the training begins")
    parser.add_argument("--work", required=True)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20, help="between two rounds")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--device", default=None)
    asked, rest = parser.parse_known_args()
    model = asked.model
    for number in range(1, asked.rounds + 1):
        examples = mine(number, model, asked, rest)
        model = train(model, examples, f"{asked.work}/checkpoint-{number}", asked)
        print(model)


if __name__ == "__main__":
    main()
