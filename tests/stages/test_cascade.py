"""``rerank --only-if``: a scorer sees what another column lets through, and all else is as ever."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from negmine.commands.audit import hiding
from negmine.table import artifacts
from tests.conftest import Invoke
from tests.hashed_scorer import (
    DEPTH,
    QUERIES,
    asked,
    hashed,
    make_candidates,
    make_recipe,
    pairs_of,
)
from tests.tables import make_scored

__all__ = ["hashed"]
#: Known positives of the table: two of each query but one.
POSITIVES = 2 * (QUERIES - 1)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_candidates(tmp_path_factory.mktemp("cascade"))


class Bench:
    """Scorers ``judge`` and ``strong`` over one table, and what is known of all of its pairs."""

    def __init__(self, tables: Path, plugin: str, folder: Path, invoke: Invoke) -> None:
        self.tables, self.plugin, self.folder, self.invoke = tables, plugin, folder, invoke
        self.rerank("whole", self.scorers("judge", "strong", log="whole", verdict=True))
        self.whole = rows(folder / "whole")

    def scorers(self, *names: str, log: str = "log", verdict: bool = False) -> list[str]:
        said = []
        for name in names:
            file = self.folder / f"pairs-{log}" / f"pairs.{name}"
            file.parent.mkdir(exist_ok=True)
            more = "+verdict" if verdict and name.endswith("judge") else ""
            said += ["--scorer", f"{name}={self.plugin}/{file}{more}"]
        return said

    def rerank(self, name: str, given: list[Any], source: Path | None = None) -> Any:
        result = self.invoke("rerank", source or self.tables, *given, "-o", self.folder / name)
        assert result.exit_code == 0, result.output
        return result

    def asked(self, name: str, log: str = "log") -> list[str]:
        return asked(self.folder / f"pairs-{log}" / f"pairs.{name}")


@pytest.fixture
def bench(tables: Path, hashed: str, tmp_path: Path, invoke: Invoke) -> Bench:
    return Bench(tables, hashed, tmp_path, invoke)


def rows(artifact: Path) -> list[dict[str, Any]]:
    return pq.read_table(artifact).to_pylist()  # type: ignore[no-any-return]


def manifest(artifact: Path) -> dict[str, Any]:
    return json.loads((artifact / "_manifest.json").read_text())  # type: ignore[no-any-return]


def screened(whole: list[dict[str, Any]], seen: list[bool]) -> list[float | None]:
    """The scores of ``strong``, null where it did not see a row."""
    return [row["score_strong"] if mine else None for row, mine in zip(whole, seen, strict=True)]


@pytest.mark.parametrize("order", [("judge", "strong"), ("strong", "judge")])
def test_a_scorer_sees_what_another_one_lets_through(bench: Bench, order: tuple[str, str]) -> None:
    given = [*bench.scorers(*order), "--only-if", "judge > 0.3"]
    told = bench.rerank("some", given)
    some = rows(bench.folder / "some")
    assert [name for name in some[0] if name in ("score_judge", "score_strong")] == [
        f"score_{name}" for name in order
    ]
    seen = [row["score_judge"] > 0.3 or row["label"] == 1 for row in bench.whole]
    assert [row["score_judge"] for row in some] == [row["score_judge"] for row in bench.whole]
    assert [row["score_strong"] for row in some] == screened(bench.whole, seen)
    assert any(row["score_strong"] is None for row in some)
    # It was asked about these and no others, once.
    assert len(bench.asked("judge")) == QUERIES * DEPTH
    assert len(bench.asked("strong")) == sum(seen)
    made = manifest(bench.folder / "some")
    assert made["params"]["only_if"] == {"strong": "judge > 0.3"}
    assert made["counts"]["scored"] == QUERIES * DEPTH
    assert made["counts"]["scored_by"] == {"strong": sum(seen)}
    said = " ".join(told.stderr.split())
    assert f"strong scored {sum(seen)} of {QUERIES * DEPTH} candidates" in said
    assert "those of which judge > 0.3 holds, and the known positives" in said
    # Another way to write the same, without a model asked again.
    given[-1] = "strong=score_judge>.3" if order[0] == "strong" else "strong=judge >  3e-1"
    if order[0] == "judge":
        assert "up to date" in bench.rerank("some", given).stderr
        assert len(bench.asked("strong")) == sum(seen)


def test_a_condition_on_an_earlier_stage_and_its_positives(bench: Bench) -> None:
    """Relative to the known positives: their least score, of those that have one."""
    bench.rerank("first", bench.scorers("judge"))
    given = [*bench.scorers("strong"), "--only-if", "judge >= positive - 0.25 and rank_bm25 <= 30"]
    bench.rerank("some", given, bench.folder / "first")
    least: dict[str, float] = {}
    for row in bench.whole:
        if row["label"]:
            least[row["qid"]] = min(row["score_judge"], least.get(row["qid"], 9.0))
    seen = [
        row["label"] == 1
        or (
            row["qid"] in least
            and row["score_judge"] >= least[row["qid"]] - 0.25
            and row["rank_bm25"] <= 30
        )
        for row in bench.whole
    ]
    assert [row["score_strong"] for row in rows(bench.folder / "some")] == screened(
        bench.whole, seen
    )
    assert sum(seen) > POSITIVES
    # Nothing of it is scored where nothing is let through.
    given[-1] = "bm25 > 1000"
    bench.rerank("none", [*given, "--only-if-positives"], bench.folder / "first")
    assert {row["score_strong"] for row in rows(bench.folder / "none")} == {None}


def test_a_verdict_lets_through_and_null_does_not(bench: Bench) -> None:
    given = [*bench.scorers("judge", "strong", verdict=True), "--only-if", "verdict_judge != no"]
    bench.rerank("some", [*given, "--only-if-positives"])
    seen = [row["verdict_judge"] == "yes" for row in bench.whole]
    some = rows(bench.folder / "some")
    assert [row["score_strong"] for row in some] == screened(bench.whole, seen)
    assert [row["verdict_judge"] for row in some] == [row["verdict_judge"] for row in bench.whole]
    assert any(row["label"] and row["score_strong"] is None for row in some)
    made = manifest(bench.folder / "some")
    assert made["params"]["only_if_positives"] is True
    # A column that the loaded scorer turns out not to have.
    given = [*bench.scorers("judge", "strong"), "--only-if", "verdict_judge = yes"]
    result = bench.invoke("rerank", bench.tables, *given, "-o", bench.folder / "no")
    assert result.exit_code == 2
    assert "the table has no 'verdict_judge'" in " ".join(result.stderr.split())


def test_names_that_end_alike_are_told_apart(bench: Bench) -> None:
    """``verdict_first_judge`` is the column of ``first_judge``, and none of ``judge``."""
    given = bench.scorers("judge", "first_judge", verdict=True)
    bench.rerank("some", [*given, "--only-if", "judge=verdict_first_judge = yes"])
    some = rows(bench.folder / "some")
    for row in some:
        seen = row["label"] == 1 or row["verdict_first_judge"] == "yes"
        assert (row["score_judge"] is not None) == seen
    # What is hidden loses what `judge` said of it as a positive, and nothing of the other's.
    found = artifacts.open_artifact(bench.folder / "some")
    scheme = hiding.Scheme(hiding.RANDOM)
    hiding.mask(found, bench.folder / "masked", scheme, keep=1, seed=3)
    masked = rows(bench.folder / "masked")
    of_first = ("score_first_judge", "verdict_first_judge")
    assert [[row[one] for one in of_first] for row in masked] == [
        [row[one] for one in of_first] for row in some
    ]
    lost = [row for row, was in zip(masked, some, strict=True) if row != was and was["label"]]
    assert any(row["score_judge"] is None for row in lost)
    assert all(row["verdict_judge"] is None for row in lost if row["score_judge"] is None)


def test_a_limit_is_meant_to_the_last_digit(bench: Bench) -> None:
    """Two limits that look alike in six digits are two, and a text between quotes stays one."""
    given = [*bench.scorers("judge", "strong", verdict=True), "--only-if"]
    bench.rerank("some", [*given, "strong=judge > 0.37499999"])
    assert manifest(bench.folder / "some")["params"]["only_if"]["strong"] == "judge > 0.37499999"
    given += ["strong=judge > 0.375"]
    other = bench.invoke("rerank", bench.tables, *given, "-o", bench.folder / "some")
    assert other.exit_code == 6, other.output
    bench.rerank("more", given)
    # The limit that decides which rows need no score of `strong` is the one that was written.
    filtered = ["filter", bench.folder / "more", "--by", "strong", "--sampler", "rank"]
    for limit, kept in (("judge <= 0.37499999", False), ("judge <= 0.375", True)):
        out = bench.folder / "ledger"
        made = bench.invoke(*filtered, "--keep-unscored", limit, "-o", out, "--force")
        assert made.exit_code == 0, made.output
        at = [row for row in rows(out) if row["score_judge"] == 0.375 and not row["label"]]
        assert at
        assert {row["dropped_by"] != "unscored" for row in at} == {kept}
    quoted = ["--keep-unscored", "verdict_judge != 'not sure'"]
    assert bench.invoke(*filtered, *quoted, "-o", bench.folder / "quoted").exit_code == 0


def test_one_lets_through_to_the_next(bench: Bench) -> None:
    given = [*bench.scorers("last", "strong", "judge"), "--only-if", "judge > 0.3"]
    given += ["--only-if", "last=strong > 0.3"]
    bench.rerank("some", given)
    some = rows(bench.folder / "some")
    assert [name for name in some[0] if name.startswith("score_")][-3:] == [
        *("score_last", "score_strong", "score_judge"),
    ]
    for row in some:
        assert (row["score_strong"] is not None) == (row["label"] == 1 or row["score_judge"] > 0.3)
        through = row["score_strong"] is not None and row["score_strong"] > 0.3
        assert (row["score_last"] is not None) == (row["label"] == 1 or through)
    assert 0 < len(bench.asked("last")) < len(bench.asked("strong")) < len(bench.asked("judge"))


@pytest.mark.parametrize(
    ("scorers", "more", "said"),
    [
        (["judge"], ["--only-if", "judge > 0.3"], "is for no scorer"),
        (["judge"], ["--only-if", "judge=judge > 0.3"], "judge reads its own score"),
        (
            ["judge", "strong"],
            ["--only-if", "judge=strong > 0.3", "--only-if", "strong=judge > 0.3"],
            "the scorers judge, strong wait for each other",
        ),
        (["strong"], ["--only-if", "jugde > 0.3"], "the table has no 'jugde'"),
        (["strong"], ["--only-if", "bm25"], "'bm25' is no condition"),
        (["strong"], ["--only-if", "bm25 = many"], "which holds float"),
        (
            ["judge", "strong"],
            ["--only-if", "bm25 > 1", "--only-if", "bm25 < 9"],
            "--only-if is given twice without a scorer's name",
        ),
        (["strong"], ["--only-if-positives"], "--only-if-positives is read with --only-if alone"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    bench: Bench, scorers: list[str], more: list[str], said: str
) -> None:
    given = [*bench.scorers(*scorers), *more]
    result = bench.invoke("rerank", bench.tables, *given, "-o", bench.folder / "no")
    assert result.exit_code == 2, result.output
    assert said in " ".join(result.stderr.split())
    assert not (bench.folder / "no").exists()
    assert not bench.asked(scorers[-1])


@pytest.mark.parametrize(("scorer", "at"), [("judge", 200), ("strong", 0), ("strong", 100)])
def test_interrupted_it_goes_on(bench: Bench, scorer: str, at: int) -> None:
    """The same rows, and no scorer is asked again about what was finished."""
    only = ["--only-if", "strong=judge > 0.3"]
    bench.rerank("plain", [*bench.scorers("judge", "strong", log="plain"), *only])
    given = [*bench.scorers("judge", "strong"), *only]
    (bench.folder / "pairs-log" / f"pairs.{scorer}.die").write_text(str(at))
    cut = bench.folder / "cut"
    assert bench.invoke("rerank", bench.tables, *given, "-o", cut).exit_code == 130
    bench.rerank("cut", given)
    assert rows(cut) == rows(bench.folder / "plain")
    for name in ("judge", "strong"):
        # What was in flight is asked again, a part at most.
        again = len(bench.asked(name)) - len(bench.asked(name, "plain"))
        assert 0 <= again <= QUERIES // 2 * DEPTH


@pytest.mark.parametrize("top", [None, 10])
def test_until_there_are_enough(bench: Bench, top: int | None) -> None:
    """Both at once: the same negatives, and fewer pairs for either scorer."""
    fewer = [] if top is None else ["--top", top]
    only = ["--only-if", "strong=judge > 0.3", *fewer]
    rules = ["--by", "strong", "--max-score", 0.6, "--sampler", "rank", "--num-negatives", 3]
    until = ["by=strong", "max-score=0.6", "sampler=rank"]
    bench.rerank("all", [*bench.scorers("judge", "strong", log="all"), *only])
    lazily = ["--enough", 3, "--enough-block", 2, *(w for one in until for w in ("--until", one))]
    bench.rerank("enough", [*bench.scorers("judge", "strong"), *only, *lazily])
    chosen = {}
    for name in ("all", "enough"):
        out = bench.folder / f"{name}-ledger"
        result = bench.invoke("filter", bench.folder / name, *rules, "-o", out)
        assert result.exit_code == 0, result.output
        chosen[name] = [
            (row["qid"], row["docid"], row["selected"], row["score_strong"])
            for row in rows(out)
            if row["selected"] is not None
        ]
    assert chosen["enough"] == chosen["all"] != []
    for name in ("judge", "strong"):
        assert len(bench.asked(name)) < len(bench.asked(name, "all"))
    some = rows(bench.folder / "enough")
    assert all(
        row["label"] or row["score_judge"] > 0.3 for row in some if row["score_strong"] is not None
    )


def test_a_dry_run_tells_the_share_or_says_that_it_is_not_known(bench: Bench) -> None:
    def guesses(source: Path, given: list[Any]) -> tuple[list[str], dict[str, Any]]:
        command = ["rerank", source, *given, "-o", bench.folder / "dry", "--dry-run", "--json"]
        result = bench.invoke(*command)
        assert result.exit_code == 0, result.output
        (stage,) = json.loads(result.stdout)["stages"]
        assert not (bench.folder / "dry").exists()
        return stage["guesses"], stage

    bench.rerank("first", bench.scorers("judge"))
    given = [*bench.scorers("strong"), "--only-if", "judge > 0.3"]
    told, _ = guesses(bench.folder / "first", given)
    seen = sum(row["score_judge"] > 0.3 or row["label"] == 1 for row in bench.whole)
    share = f"{seen / len(bench.whole):.0%}"
    assert f"strong: {share} of the pairs, those of which judge > 0.3 holds" in told
    given = [*bench.scorers("judge", "strong"), "--only-if", "strong=judge > 0.3"]
    told, _ = guesses(bench.tables, given)
    assert "strong: up to every pair; of how many judge > 0.3 holds is not known" in told


def test_a_recipe_has_a_table_of_conditions(hashed: str, tmp_path: Path, invoke: Invoke) -> None:
    scorers = (f'{name} = "{hashed}/{tmp_path}/l.{name}"' for name in ("judge", "strong"))
    rerank = f"scorer = {{ {', '.join(scorers)} }}\nonly-if = {{ strong = 'judge > 0.3' }}"
    recipe = make_recipe(tmp_path, rerank, 'by = "judge"')
    result = invoke("run", recipe)
    assert result.exit_code == 0, result.output
    assert 0 < pairs_of(tmp_path / "l.strong") < pairs_of(tmp_path / "l.judge")
    changed = ["--set", "rerank.only-if.strong=judge > 0.4", "--dry-run"]
    result = invoke("run", recipe, *changed)
    assert result.exit_code == 0, result.output
    assert "strong: up to every pair" in result.stdout


# --- what filter and audit make of it -------------------------------------------------------------


def test_what_was_screened_out_can_be_kept(bench: Bench) -> None:
    """As if all that the judge screened out had a score below every limit; null is no such word."""
    given = [*bench.scorers("judge", "strong"), "--only-if", "strong=judge > 0.3"]
    bench.rerank("some", [*given, "--only-if", "judge=bm25 > 6"])
    some = rows(bench.folder / "some")
    parts: list[list[dict[str, Any]]] = [[], []]
    for row in some:
        screened_out = row["score_judge"] is not None and row["score_judge"] <= 0.3
        low = -9.0 if screened_out and row["score_strong"] is None else row["score_strong"]
        parts[int(row["qid"][1:]) % 2].append({**row, "score_both": low})
    texts = {row["docid"]: row["text"] for row in rows(bench.tables.parent / "documents")}
    like = make_scored(
        bench.folder / "like", parts, sources=("bm25",), scorers=("both",), doc_texts=texts
    )
    rules = ["--max-score", 0.3, "--sampler", "rank", "--num-negatives", 5]
    keep = ["--by", "strong", "--keep-unscored", "judge<=.3"]
    chosen = {}
    for source, by in ((like, ["--by", "both"]), (bench.folder / "some", keep)):
        out = bench.folder / f"{source.name}-ledger"
        result = bench.invoke("filter", source, *by, *rules, "-o", out)
        assert result.exit_code == 0, result.output
        chosen[by[1]] = [(row["docid"], row["dropped_by"], row["selected"]) for row in rows(out)]
    assert chosen["strong"] == chosen["both"]
    ledger = rows(bench.folder / "some-ledger")
    taken = [row for row in ledger if row["selected"] is not None]
    assert {row["score_strong"] is None for row in taken} == {True, False}
    without = [row for row in ledger if row["score_judge"] is None and not row["label"]]
    assert without
    assert "unscored" in {row["dropped_by"] for row in without}
    assert all(row["dropped_by"] for row in without)
    kept = sum(row["score_strong"] is None and not row["dropped_by"] for row in ledger)
    assert manifest(bench.folder / "some-ledger")["counts"]["kept_unscored"] == kept > 0
    # It is among the settings under which scoring may stop.
    until = ["by=strong", "max-score=0.3", "sampler=rank", "keep-unscored=judge <= 0.3"]
    lazily = ["--enough", 5, *(word for one in until for word in ("--until", one))]
    given = [*bench.scorers("judge", "strong", log="enough"), *given[4:]]
    bench.rerank("enough", [*given, "--only-if", "judge=bm25 > 6", *lazily])
    out = bench.folder / "enough-ledger"
    result = bench.invoke("filter", bench.folder / "enough", *keep, *rules, "-o", out)
    assert result.exit_code == 0, result.output
    assert "other settings" not in result.stderr
    again = [(row["docid"], row["selected"]) for row in rows(out) if row["selected"] is not None]
    assert again == [(row["docid"], row["selected"]) for row in taken]
    assert len(bench.asked("judge", "enough")) < len(bench.asked("judge"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--keep-unscored", "jugde < 0.3"], "--keep-unscored: the table has no 'jugde'"),
        (["--keep-unscored", "low"], "--keep-unscored: 'low' is no condition"),
        (
            ["--keep-unscored", "judge < 0.3", "--max-fn-rate", 0.1],
            "what passes without a score is not counted by --max-fn-rate",
        ),
    ],
)
def test_what_keeps_nothing_sensible_is_refused(
    bench: Bench, options: list[Any], said: str
) -> None:
    asked = ["filter", bench.folder / "whole", "--by", "strong", *options]
    result = bench.invoke(*asked, "-o", bench.folder / "no")
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())


def test_a_hidden_positive_has_the_scores_of_a_candidate(bench: Bench) -> None:
    """What an audit hides is what it would have been: not asked about where it was screened out."""
    given = ["--only-if", "last=strong > 0.3", "--only-if", "judge > positive - 0.3"]
    names = ("last", "judge", "strong")
    bench.rerank("some", [*bench.scorers(*names), *given])
    hidden = hiding.mask(
        artifacts.open_artifact(bench.folder / "some"),
        bench.folder / "masked",
        hiding.Scheme(hiding.RANDOM),
        keep=1,
        seed=3,
    )
    masked = rows(bench.folder / "masked")
    assert sum(len(one.pairs) for one in hidden.values()) == POSITIVES / 2
    parts: list[list[dict[str, Any]]] = [[], []]
    for row in masked:
        parts[int(row["qid"][1:]) % 2].append(row)
    texts = {row["docid"]: row["text"] for row in rows(bench.tables.parent / "documents")}
    make_scored(bench.folder / "like", parts, sources=("bm25",), scorers=(), doc_texts=texts)
    source = bench.folder / "like" / "candidates"
    bench.rerank("anew", [*bench.scorers(*names, log="like"), *given], source)
    like = rows(bench.folder / "anew")
    was = {row["docid"] for row in bench.whole if row["label"]}
    unseen = 0
    for before, after in zip(masked, like, strict=True):
        # The others were compared with the positives that were known when they were scored.
        if before["docid"] in was:
            columns = [f"score_{name}" for name in names]
            assert [before[one] for one in columns] == [after[one] for one in columns]
            unseen += after["score_strong"] is None
    assert unseen > 0
