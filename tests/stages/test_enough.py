"""``rerank --enough``: fewer pairs scored, and the same negatives as if all had been."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from negmine import rules
from negmine.params import FilterParams
from negmine.sampling.samplers import SAMPLERS
from negmine.stages.filter import enough
from tests.conftest import Invoke
from tests.hashed_scorer import DEPTH, QUERIES, hashed, make_candidates, make_recipe, pairs_of
from tests.rules.test_shown_limits import SETTINGS

__all__ = ["hashed"]
WANTED = 4


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_candidates(tmp_path_factory.mktemp("enough"))


def chosen(ledger: Path) -> list[tuple[str, str, int, float]]:
    return [
        (row["qid"], row["docid"], row["selected"], row["score_ce"])
        for row in pq.read_table(ledger).to_pylist()
        if row["selected"] is not None
    ]


#: Settings of every rule with a number that may stop early, of the samplers and what goes first.
OWN = [
    options
    for name, every in SETTINGS.items()
    for options in every
    if not next(rule for rule in rules.RULES if rule.name == name).others(FilterParams())
    and name not in ("query_min_rank", "percentile", "max_fn_rate", "adaptive_threshold")
]
MORE: list[tuple[Any, ...]] = [
    ("--max-score", 0.4, "--sampler", "random", "--seed", 3),
    ("--max-score", 0.4, "--sampler", "top", "--sample-by", "bm25"),
    ("--max-score", 0.4, "--sampler", "bottom", "--sample-by", "bm25"),
    ("--max-score", 0.4, "--prefer-judged", "--order", "easy-first"),
    ("--max-score", 0.4, "--no-repeated-texts"),
    ("--max-score", 0.4, "--range-min", 5, "--range-max", 20),
    ("--max-score", 0.3, "--against", "max", "--relative-margin", 0.1),
    ("--consensus", "ce", "--consensus", "bm25"),
    ("--by", "bm25", "--consensus", "ce"),
    ("--max-score", 0.4, "--no-near-duplicates", "--no-empty-texts", "--chunk-suffix", "[0-9]"),
    ("--max-score", 0.4, "--require-numbers", "all"),
    ("--max-score", 0.4, "--window", "bm25=3:25"),
]


@pytest.mark.parametrize("options", [*OWN, *MORE], ids=lambda given: " ".join(map(str, given)))
def test_the_same_negatives_for_fewer_pairs(
    tables: Path, hashed: str, tmp_path: Path, invoke: Invoke, options: tuple[Any, ...]
) -> None:
    scorers = ["ce", *(["g"] if "--guide" in options else [])]
    rank = [] if "--sampler" in options else ["--sampler", "rank"]
    by = [] if "--by" in options else ["--by", "ce"]
    asked = [*by, "--num-negatives", WANTED, *rank, *options]
    settings = words(asked)
    found = {}
    for name, more in (
        ("whole", []),
        ("enough", ["--enough", WANTED, "--enough-block", 3, *settings]),
    ):
        given = [
            one for s in scorers for one in ("--scorer", f"{s}={hashed}/{tmp_path / name}-{s}.log")
        ]
        scored, ledger = tmp_path / name, tmp_path / f"{name}-ledger"
        for command in (["rerank", tables, *given, *more], ["filter", scored, *asked]):
            result = invoke(*command, "-o", scored if command[0] == "rerank" else ledger)
            assert result.exit_code == 0, result.output
        found[name] = chosen(ledger)
    assert found["enough"] == found["whole"]
    assert len(found["whole"]) >= QUERIES
    for s in scorers:
        log = tmp_path / f"enough-{s}.log"
        assert pairs_of(log) < pairs_of(tmp_path / f"whole-{s}.log") == QUERIES * DEPTH
        rows = pq.read_table(tmp_path / "enough").to_pylist()
        assert pairs_of(log) == sum(row[f"score_{s}"] is not None for row in rows)
        assert all(row[f"score_{s}"] is not None for row in rows if row["label"])
    told = json.loads((tmp_path / "enough" / "_manifest.json").read_text())["counts"]
    assert told["scored"] + told["unscored"] == QUERIES * DEPTH


@pytest.mark.parametrize("block", [1, 3, 8])
def test_a_query_costs_what_its_own_survivors_say(
    tables: Path, hashed: str, tmp_path: Path, invoke: Invoke, block: int
) -> None:
    """First as many as are wanted, for with fewer none has enough; then a block at a time."""
    asked = ["--by", "ce", "--max-score", 0.4, "--sampler", "rank", "--num-negatives", WANTED]
    scorer = f"ce={hashed}/{tmp_path / 'log'}"
    lazily = ["--enough", WANTED, "--enough-block", block, *words(asked)]
    for command in (
        ["rerank", tables, "--scorer", scorer, "-o", tmp_path / "whole"],
        ["rerank", tables, "--scorer", scorer, *lazily, "-o", tmp_path / "enough"],
        ["filter", tmp_path / "whole", *asked, "-o", tmp_path / "ledger"],
    ):
        result = invoke(*command)
        assert result.exit_code == 0, result.output
    ledger = pq.read_table(tmp_path / "ledger").to_pylist()
    scored = pq.read_table(tmp_path / "enough").to_pylist()
    costs = set()
    for qid in {row["qid"] for row in ledger}:
        others = [row for row in ledger if row["qid"] == qid and not row["label"]]
        # What other rules drop has no place in the order: they know it without a score.
        order = sorted(
            (row for row in others if row["dropped_by"] in (None, "max_score", "repeated_text")),
            key=lambda row: (row["rank_bm25"], row["docid"]),
        )
        reached = WANTED
        while sum(row["dropped_by"] is None for row in order[:reached]) < WANTED:
            if reached >= len(order):
                break
            reached += block
        want = {row["docid"] for row in order[:reached]}
        mine = [row for row in scored if row["qid"] == qid and not row["label"]]
        assert {row["docid"] for row in mine if row["score_ce"] is not None} == want
        costs.add(len(want))
    assert len(costs) > 1


def test_a_list_of_excluded_documents_is_one_of_the_settings(
    tables: Path, hashed: str, tmp_path: Path, invoke: Invoke
) -> None:
    """By its content, not by its name; an audit tells that not all is scored."""
    listed = [tmp_path / "first.txt", tmp_path / "same.txt", tmp_path / "other.txt"]
    for path, step in zip(listed, (2, 2, 3), strict=True):
        path.write_text(
            "".join(f"q{q:02d}d{d:02d}\n" for q in range(9) for d in range(2, 40, step))
        )
    asked = ["--by", "ce", "--max-score", 0.4, "--sampler", "rank", "--num-negatives", WANTED]
    scorer = f"ce={hashed}/{tmp_path / 'log'}"
    rerank = ["rerank", tables, "--scorer", scorer, "--enough", WANTED]
    settings = words([*asked, "--exclude", listed[0]])
    result = invoke(*rerank, *settings, "-o", tmp_path / "scored")
    assert result.exit_code == 0, result.output
    assert invoke("rerank", tables, "--scorer", scorer, "-o", tmp_path / "whole").exit_code == 0
    whole = ["filter", tmp_path / "whole", *asked, "--exclude", listed[0], "-o", tmp_path / "w"]
    assert invoke(*whole).exit_code == 0
    for number, path in enumerate(listed):
        ledger = tmp_path / f"ledger-{number}"
        result = invoke("filter", tmp_path / "scored", *asked, "--exclude", path, "-o", ledger)
        assert result.exit_code == 0, result.output
        told = "(--exclude differ)" in " ".join(result.stderr.split())
        assert told == (path == listed[2])
        assert (chosen(ledger) == chosen(tmp_path / "w")) == (not told)
    result = invoke("filter", tmp_path / "scored", *asked, "-o", tmp_path / "none")
    assert "(--exclude differ)" in " ".join(result.stderr.split())
    audit = ["audit", tmp_path / "scored", *asked, "--exclude", listed[0]]
    result = invoke(*audit, "--seeds", 1, "-o", tmp_path / "audit.json")
    assert result.exit_code == 0, result.output
    told = "the scores stopped where 4 of a query survived"
    assert told in result.stderr
    assert any(told in one for one in json.loads((tmp_path / "audit.json").read_text())["warnings"])


def words(asked: list[Any]) -> list[Any]:
    """Options of filter as ``--until`` takes them."""
    said: list[Any] = []
    for one in map(str, asked):
        if not one.startswith("--"):
            said[-1] += f"={one}"
        elif one.startswith("--no-"):
            said.append(f"{one[5:]}=false")
        elif one.startswith("--prefer"):
            said.append(f"{one[2:]}=true")
        else:
            said.append(one[2:])
    return [part for one in said for part in ("--until", one)]


def test_every_rule_is_tried_or_says_that_it_compares_rows() -> None:
    tried = {str(option)[2:].replace("-", "_") for options in [*OWN, *MORE] for option in options}
    whole = {"query_min_rank", "percentile", "max_fn_rate", "pseudo_positive"}
    whole.add("adaptive_threshold")
    asking = {rule.name for rule in rules.RULES if rule.scores or rule.positive is not None}
    # What goes by an earlier ledger is refused by its option.
    assert asking - whole - {"no_positive_score", "solved"} <= tried | {"unscored_consensus"}
    asked = FilterParams(percentile=0.5, max_fn_rate=0.5, pseudo_positive=0.5, query_min_rank=1)
    asked = replace(asked, adaptive_threshold=1.0)
    assert {rule.name for rule in rules.RULES if rule.others(asked)} == whole
    assert {name for name, one in SAMPLERS.items() if one.alone} == {
        *("top", "random", "rank", "bottom"),
    }


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--until", "by=ce", "--until", "max-score=0.5"], "in which order --sampler top takes"),
        (["--until", "sampler=simans", "--until", "by=ce"], "in which order --sampler simans"),
        (["--until", "by=p_prior", "--until", "sampler=rank"], "with --by p_prior it is not known"),
        (
            ["--until", "by=p_prior", "--until", "sampler=rank"],
            "(filter's prior-pool = 24, here --until prior-pool=24)",
        ),
        (
            ["--until", "by=p_prior", "--until", "prior-pool=24"],
            "in which order --sampler top takes",
        ),
        (
            [
                *("--until", "by=p_prior", "--until", "prior-pool=24", "--until", "sampler=rank"),
                *("--top", 9),
            ],
            "of the candidates that prior-pool draws --top would leave some unscored",
        ),
        (
            ["--until", "by=score_p_relevant", "--until", "sampler=rank"],
            "with --by score_p_relevant it is not known",
        ),
        (
            ["--until", "by=ce", "--until", "consensus=p_prior", "--until", "sampler=rank"],
            "with --consensus p_prior it is not known",
        ),
        (
            ["--until", "max-fn-rate=0.1", "--until", "sampler=rank"],
            "with --max-fn-rate it is not known",
        ),
        (
            ["--until", "max-fn-rate=0.1", "--until", "sampler=rank"],
            "Learn the limit from some queries, which are scored whole (filter's fit-sample = N",
        ),
        (
            ["--until", "percentile=0.1", "--until", "sampler=rank"],
            "with --percentile it is not known",
        ),
        (["--until", "max-reuse=3", "--until", "sampler=rank"], "with --max-reuse it is not known"),
        (
            ["--until", "promote=ce > 3", "--until", "sampler=rank"],
            "with --promote it is not known",
        ),
        (["--until", "demote=ce < 3", "--until", "sampler=rank"], "with --demote it is not known"),
        (
            ["--until", "drop-query=positives = 0", "--until", "sampler=rank"],
            "with --drop-query it is not known",
        ),
        (
            ["--until", "skip-survivors=3", "--until", "sampler=rank"],
            "with --skip-survivors it is not known",
        ),
        (["--until", "weight=gcse", "--until", "sampler=rank"], "with --weight it is not known"),
        (
            ["--until", "replace-solved=x", "--until", "sampler=rank"],
            "with --replace-solved it is not known",
        ),
        (["--until", "adaptive-threshold=1", "--until", "sampler=rank"], "with --adaptive-thres"),
        (["--until", "quota=bm25=4", "--until", "sampler=rank"], "with --quota it is not known"),
        (["--until", "by=bm25", "--until", "sampler=rank"], "no rule of --until reads score_ce"),
        (["--until", "num-negatives=9"], "--enough 4 is below the 9 negatives of filter"),
        (["--until", "max-scor=9"], "max-scor"),
        (["--until", "max-score"], "is no KEY=VALUE"),
        (["--until", "max-score=1", "--until", "max-score=2"], "'max-score' must be a number"),
        (["--until", "by=nothing", "--until", "sampler=rank"], "no score 'nothing'"),
    ],
)
def test_what_wants_every_score_is_refused(
    tables: Path, hashed: str, tmp_path: Path, invoke: Invoke, more: list[str], said: str
) -> None:
    command = ["rerank", tables, "--scorer", f"ce={hashed}/{tmp_path / 'log'}", "--enough", WANTED]
    result = invoke(*command, *more, "-o", tmp_path / "scored")
    assert result.exit_code == 2, result.output
    assert said in " ".join(result.stderr.split())
    assert not (tmp_path / "scored").exists()
    assert not (tmp_path / "log").exists()


def test_until_without_enough_is_refused(
    tables: Path, hashed: str, tmp_path: Path, invoke: Invoke
) -> None:
    command = ["rerank", tables, "--scorer", f"ce={hashed}/{tmp_path / 'log'}"]
    result = invoke(*command, "--until", "max-score=1", "-o", tmp_path / "scored")
    assert result.exit_code == 2
    assert "--until is read with --enough alone" in result.stderr


def test_settings_of_a_filter_come_through_in_words() -> None:
    asked = FilterParams(
        by="ce",
        max_score=-4.5,
        sampler="rank",
        repeated_texts=False,
        near_duplicate_cosine=("a=1",),
    )
    told = enough.told(asked)
    assert 'by="ce"' in told
    back = enough.settings(asked.num_negatives, told)
    assert back == asked


def test_the_dry_run_takes_it(tables: Path, hashed: str, tmp_path: Path, invoke: Invoke) -> None:
    command = ["rerank", tables, "--scorer", f"ce={hashed}/{tmp_path / 'log'}", "--enough", WANTED]
    command += ["--until", "by=ce", "--until", "max-score=0.5", "--until", "sampler=rank"]
    dry = invoke(*command, "-o", tmp_path / "scored", "--dry-run", "--json")
    assert dry.exit_code == 0, dry.output
    (stage,) = json.loads(dry.stdout)["stages"]
    assert stage["rows"] == QUERIES * DEPTH
    (guess,) = (one for one in stage["guesses"] if "--enough will stop before" in one)
    # Known positives, and as many of each query's others.
    table = pq.read_table(tables, columns=["label"])
    positive = table.column("label").to_pylist().count(1)
    least = positive + QUERIES * WANTED
    assert f"for {WANTED} behind about {least} of {QUERIES * DEPTH} at the earliest" in guess
    assert not (tmp_path / "scored").exists()


def test_a_recipe_stops_by_its_own_filter(hashed: str, tmp_path: Path, invoke: Invoke) -> None:
    log = tmp_path / "log"
    rerank = f'scorer = {{ ce = "{hashed}/{log}" }}\nenough = 3\nenough-block = 2\n'
    recipe = make_recipe(tmp_path, rerank, 'by = "ce"\nmax-score = 0.4\nsampler = "rank"')
    text = recipe.read_text()
    result = invoke("run", recipe)
    assert result.exit_code == 0, result.output
    assert re.search(r"scored [\d,]+ of [\d,]+ candidates \(\d+%\), until 3 of", result.stderr)
    lazily = pairs_of(log)
    manifest = json.loads((tmp_path / "work" / "scored" / "_manifest.json").read_text())
    assert sorted(manifest["params"]["until"]) == [
        *('by="ce"', "max-score=0.4", "num-negatives=3", 'sampler="rank"'),
    ]
    recipe.write_text(text.replace("enough = 3\nenough-block = 2\n", ""))
    result = invoke("run", recipe, "-o", tmp_path / "whole")
    assert result.exit_code == 0, result.output
    assert chosen(tmp_path / "work" / "ledger") == chosen(tmp_path / "whole" / "ledger")
    assert lazily < (pairs_of(log) - lazily) / 2
    # Other settings on the same scores: said, with what mends it.
    scored = tmp_path / "work" / "scored"
    other = ["filter", scored, "--by", "ce", "--sampler", "rank", "--num-negatives", 3]
    same = invoke(*other, "--max-score", 0.4, "-o", tmp_path / "same")
    assert "other settings" not in same.stderr
    stricter = invoke(*other, "--max-score", 0.2, "-o", tmp_path / "stricter")
    assert stricter.exit_code == 0
    said = " ".join(stricter.stderr.split())
    assert (
        "the scores stopped where 3 of a query survived other settings (--max-score differ)" in said
    )
    # A recipe that is changed is scored anew for what it asks now.
    recipe.write_text(text.replace("max-score = 0.4", "max-score = 0.2"))
    again = invoke("run", recipe)
    assert again.exit_code == 0, again.output
    assert "the scores stopped" not in again.stderr
