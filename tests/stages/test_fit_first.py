"""``rerank --enough`` with a limit that is learned: some queries are scored whole for it first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from negmine import recipe
from negmine.errors import UsageError
from negmine.learning import fit_sample
from negmine.params import FilterParams, RerankParams, values
from negmine.stages.filter import enough
from negmine.stages.filter.recorded import recorded
from negmine.table.candidates import open_candidates
from tests.conftest import Invoke
from tests.hashed_scorer import DEPTH, QUERIES, hashed, make_candidates, make_recipe, pairs_of

__all__ = ["hashed"]
WANTED, SAMPLE = 4, 8


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_candidates(tmp_path_factory.mktemp("fit"))


def rows(artifact: Path) -> list[dict[str, Any]]:
    return pq.read_table(artifact).to_pylist()  # type: ignore[no-any-return]


def chosen(ledger: Path) -> list[tuple[str, str, int, float]]:
    return [
        (row["qid"], row["docid"], row["selected"], row["score_ce"])
        for row in rows(ledger)
        if row["selected"] is not None
    ]


def until(options: list[Any]) -> list[str]:
    pairs = zip(options[::2], options[1::2], strict=True)
    return [word for name, value in pairs for word in ("--until", f"{name[2:]}={value}")]


@pytest.mark.parametrize(
    "options",
    [
        ["--max-fn-rate", 0.3, "--fn-form", "score"],
        ["--max-fn-rate", 0.4, "--fn-form", "margin"],
        ["--max-fn-rate", 0.4],
        ["--percentile", 0.9, "--percentile-floor", 0.1],
        ["--percentile", 0.9, "--seed", 5],
    ],
    ids=lambda given: " ".join(map(str, given)),
)
def test_the_negatives_are_those_of_scoring_all_with_the_same_fit(
    tables: Path, hashed: str, tmp_path: Path, invoke: Invoke, options: list[Any]
) -> None:
    own = ["--by", "ce", "--sampler", "rank", "--num-negatives", WANTED, *options]
    own += ["--fit-sample", SAMPLE]
    for name, more in (
        ("whole", []),
        ("some", ["--enough", WANTED, "--enough-block", 2, *until(own)]),
    ):
        given = ["--scorer", f"ce={hashed}/{tmp_path / 'pairs'}-{name}"]
        result = invoke("rerank", tables, *given, *more, "-o", tmp_path / name)
        assert result.exit_code == 0, result.output
        result = invoke("filter", tmp_path / name, *own, "-o", tmp_path / f"{name}-ledger")
        assert result.exit_code == 0, result.output
        assert "other settings" not in result.stderr
    assert chosen(tmp_path / "some-ledger") == chosen(tmp_path / "whole-ledger") != []
    limits = [
        json.loads((tmp_path / f"{name}-ledger" / "_manifest.json").read_text()).get("calibration")
        for name in ("some", "whole")
    ]
    assert limits[0] == limits[1]
    # No pair twice, but for copies; the sample's queries whole, and of the others some.
    log = tmp_path / "pairs-some"
    assert pairs_of(log) == sum(row["score_ce"] is not None for row in rows(tmp_path / "some"))
    assert SAMPLE * DEPTH < pairs_of(log) < QUERIES * DEPTH
    whole = {
        qid
        for qid in {row["qid"] for row in rows(tmp_path / "some")}
        if all(row["score_ce"] is not None for row in rows(tmp_path / "some") if row["qid"] == qid)
    }
    assert {row["qid"] for row in rows(tmp_path / "fit" / "some")} <= whole
    counts = json.loads((tmp_path / "some" / "_manifest.json").read_text())["counts"]
    assert counts["scored"] == pairs_of(log)
    assert counts["scored"] + counts["unscored"] == counts["candidates"] == QUERIES * DEPTH


@pytest.mark.parametrize(
    "options",
    [
        ["--max-score", 0.4],
        ["--max-score", 0.4, "--seed", 3],
        ["--max-fn-rate", 0.4, "--fit-sample", SAMPLE],
        ["--relative-margin", 0.2, "--consensus", "ce"],
    ],
    ids=lambda given: " ".join(map(str, given)),
)
def test_a_pool_that_is_drawn_says_where_all_others_stand(
    tables: Path, hashed: str, tmp_path: Path, invoke: Invoke, options: list[Any]
) -> None:
    """``p_prior`` with ``--prior-pool``: the same negatives, and their p_prior to the last bit."""
    own = ["--by", "p_prior", "--sampler", "rank", "--num-negatives", 3, *options]
    own += ["--prior-pool", 8]
    for name, more in (("whole", []), ("some", ["--enough", 3, "--enough-block", 2, *until(own)])):
        given = ["--scorer", f"ce={hashed}/{tmp_path / 'pairs'}-{name}"]
        given += ["--scorer", f"two={hashed}/{tmp_path / 'pairs'}-{name}.two"]
        result = invoke("rerank", tables, *given, *more, "-o", tmp_path / name)
        assert result.exit_code == 0, result.output
        result = invoke("filter", tmp_path / name, *own, "-o", tmp_path / f"{name}-ledger")
        assert result.exit_code == 0, result.output
        assert "other settings" not in result.stderr
    taken = {
        name: [
            (row["docid"], row["selected"], row["score_p_prior"])
            for row in rows(tmp_path / f"{name}-ledger")
            if row["selected"] is not None
        ]
        for name in ("some", "whole")
    }
    assert taken["some"] == taken["whole"] != []
    facts = [
        json.loads((tmp_path / f"{name}-ledger" / "_manifest.json").read_text())["p_prior"]
        for name in ("some", "whole")
    ]
    assert facts[0] == facts[1]
    assert facts[0]["pool"] == 8
    assert pairs_of(tmp_path / "pairs-some") < pairs_of(tmp_path / "pairs-whole")


def test_the_recommended_recipe_can_stop_early() -> None:
    tables = recipe.load(str(recipe.shipped()["default"])).tables
    filtering = {**tables["filter"], "prior-pool": 24}
    told = enough.told(values.build(FilterParams, filtering, {}))
    enough.check(values.build(RerankParams, {**tables["rerank"], "enough": 8, "until": told}, {}))
    told = enough.told(values.build(FilterParams, tables["filter"], {}))
    with pytest.raises(UsageError, match="with --by p_prior it is not known"):
        enough.check(
            values.build(RerankParams, {**tables["rerank"], "enough": 8, "until": told}, {})
        )


def test_the_fit_is_that_of_the_samples_queries_alone(
    tables: Path, hashed: str, tmp_path: Path, invoke: Invoke
) -> None:
    """As in a table that holds no others."""
    rerank = ["rerank", tables, "--scorer", f"ce={hashed}/{tmp_path / 'pairs'}"]
    own = ["--by", "ce", "--sampler", "rank", "--max-fn-rate", 0.3]
    lazily = ["--enough", 8, *until([*own, "--fit-sample", SAMPLE])]
    assert invoke(*rerank, *lazily, "-o", tmp_path / "some").exit_code == 0
    for source, more in (("some", ["--fit-sample", SAMPLE]), ("fit/some", [])):
        out = tmp_path / source.replace("/", "-ledger-")
        result = invoke("filter", tmp_path / source, *own, *more, "-o", out / "ledger")
        assert result.exit_code == 0, result.output
    facts = [
        json.loads((tmp_path / name / "ledger" / "_manifest.json").read_text())["calibration"]
        for name in ("some", "fit-ledger-some")
    ]
    assert facts[0] == facts[1]


def test_a_draw_is_of_so_many_and_hangs_on_the_ids_alone() -> None:
    ids = [f"q{number}" for number in range(200)]
    whole = pa.table({"qid": [one for one in ids for _ in range(3)]})
    sample = fit_sample.drawn([whole], 40, seed=1)
    taken = set(sample.of_table(whole).column("qid").to_pylist())
    assert (len(taken), sample.queries, sample.of) == (40, 40, 200)
    parts = [whole.slice(300), whole.slice(0, 300)]
    again = fit_sample.drawn(parts, 40, seed=1)
    assert {q for part in parts for q in again.of_table(part).column("qid").to_pylist()} == taken
    assert set(fit_sample.drawn([whole], 40, seed=2).of_table(whole)["qid"].to_pylist()) != taken
    # Among themselves they are all.
    own = sample.of_table(whole)
    assert fit_sample.drawn([own], 40, seed=1).of_table(own).equals(own)
    assert fit_sample.drawn([own], 90, seed=1).rows(own).all()


@pytest.mark.parametrize("at", [40, 330, 350, 380])
def test_interrupted_it_goes_on(
    tables: Path, hashed: str, tmp_path: Path, invoke: Invoke, at: int
) -> None:
    """While the sample is scored and afterwards: the same bytes, and nothing finished again."""
    own = ["--by", "ce", "--sampler", "rank", "--max-fn-rate", 0.3, "--fit-sample", SAMPLE]
    asked = {}
    for name in ("plain", "cut"):
        log = tmp_path / f"pairs-{name}"
        rerank = ["rerank", tables, "--scorer", f"ce={hashed}/{log}", "--enough", 8, *until(own)]
        if name == "cut":
            Path(f"{log}.die").write_text(str(at))
            assert invoke(*rerank, "-o", tmp_path / name / "scored").exit_code == 130
        result = invoke(*rerank, "-o", tmp_path / name / "scored")
        assert result.exit_code == 0, result.output
        asked[name] = pairs_of(log)
    for part in ("scored", "fit/scored"):
        files = [sorted((tmp_path / name / part).glob("*.parquet")) for name in ("plain", "cut")]
        assert [file.name for file in files[0]] == [file.name for file in files[1]]
        for one, other in zip(*files, strict=True):
            # The scorer's name tells its file.
            assert pq.read_table(one).equals(pq.read_table(other))
    # What was in flight is asked again: a part at most.
    assert asked["plain"] <= asked["cut"] <= asked["plain"] + QUERIES // 2 * DEPTH


def test_a_recipe_learns_from_a_sample(hashed: str, tmp_path: Path, invoke: Invoke) -> None:
    rerank = f'scorer = {{ ce = "{hashed}/{tmp_path / "pairs"}" }}\nenough = 3\nenough-block = 2\n'
    quantile = "percentile = 0.9\npercentile-floor = 0.2\nfit-sample = 5"
    recipe = make_recipe(tmp_path, rerank, f'by = "ce"\n{quantile}\nsampler = "rank"')
    result = invoke("run", recipe, "--dry-run")
    assert result.exit_code == 0, result.output
    (tmp_path / "pairs").unlink()
    result = invoke("run", recipe)
    assert result.exit_code == 0, result.output
    assert "5 of" in result.stderr
    assert "queries are scored whole, for what is learned" in result.stderr
    lazily = pairs_of(tmp_path / "pairs")
    recipe.write_text(recipe.read_text().replace("enough = 3\nenough-block = 2\n", ""))
    result = invoke("run", recipe, "-o", tmp_path / "whole")
    assert result.exit_code == 0, result.output
    assert chosen(tmp_path / "work" / "ledger") == chosen(tmp_path / "whole" / "ledger")
    assert lazily < pairs_of(tmp_path / "pairs") - lazily
    # Who looks at the ledger sees the limit that its rows were held against.
    ledger = tmp_path / "work" / "ledger"
    assert any(row["dropped_by"] == "percentile" for row in rows(ledger))
    knew = recorded(open_candidates(ledger)).fit.positive_scores
    sample = rows(tmp_path / "work" / "fit" / "scored")
    assert knew.tolist() == sorted(row["score_ce"] for row in sample if row["label"])
