"""``negmine report``: every number counted again, and a page that no text can break."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import random
import re
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from negmine import rules
from negmine.commands import plot
from negmine.commands.report import by_query, collect, compare, examples, slices, words
from negmine.commands.report.histogram import Histogram
from negmine.params.filter import FilterParams
from negmine.table import artifacts
from negmine.table.candidates import open_candidates
from tests.chains import call
from tests.conftest import Invoke
from tests.tables import make_scored

HOSTILE = "</style></title></svg><script>alert(1)</script> \"' &amp; <img src=http://x.test/a.png>"
SHY = "a\x00b\x1b[2Jc\u202eevil\u2066d\ufeffe\x85f\x7fg\u2028h\ufffe"
#: Characters that act on what shows them.
ACTING = (
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029"
    "\u202a-\u202e\u2066-\u2069\ufeff\ufffe]"
)
OPTIONS = ["--by", "ce", "--relative-margin", 0.1, "--num-negatives", 3, "--max-reuse", 2]

Rows = list[dict[str, Any]]


def make_rows(seed: int = 0, queries: int = 30, depth: int = 14) -> list[Rows]:
    """Three parts of random candidates; every tenth row was not scored."""
    rng = random.Random(seed)
    parts: list[Rows] = [[], [], []]
    for q in range(queries):
        docs = rng.sample(range(40), depth)
        ranks = {s: rng.sample(range(1, depth + 1), depth) for s in ("bm25", "minilm")}
        for n, doc in enumerate(docs):
            row: dict[str, Any] = {
                "qid": f"q{q:02d}",
                "docid": f"d{doc:02d}",
                "label": int(n < 1 + q % 2),
                "score_ce": None if n % 10 == 9 else rng.gauss(2 if n < 2 else 0, 2),
            }
            for source, rank in ranks.items():
                if rng.random() < 0.7:
                    row[f"rank_{source}"] = rank[n]
                    row[f"score_{source}"] = 30.0 - rank[n] + rng.random()
            parts[q * 3 // queries].append(row)
    return parts


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    scored = make_scored(folder, make_rows())
    code, told = call("filter", scored, *OPTIONS, "-o", folder / "ledger")
    assert code == 0, told
    return folder / "ledger"


def rows_of(ledger: Path) -> Rows:
    return [
        row
        for part in sorted(ledger.glob("part-*.parquet"))
        for row in pq.read_table(part, partitioning=None).to_pylist()
    ]


def facts_of(ledger: Path, seed: int = 42) -> collect.Facts:
    return collect.collect(slices.open_reader(open_candidates(ledger), seed))


def fate(row: dict[str, Any]) -> str:
    if row["label"] == 1:
        return "positive"
    if row["dropped_by"] is not None:
        return "dropped"
    return "survived" if row["selected"] is None else "selected"


# --- the numbers ------------------------------------------------------------------------------


def test_counts_are_those_of_the_ledger(ledger: Path) -> None:
    facts, rows = facts_of(ledger), rows_of(ledger)
    assert facts.candidates == len(rows)
    assert facts.queries == len({row["qid"] for row in rows})
    assert dict(zip(slices.FATES, facts.fates, strict=True)) == Counter(map(fate, rows))
    for rule, dropped in facts.dropped.items():
        mine = [row for row in rows if row["dropped_by"] == rule]
        assert (dropped.rows, dropped.queries) == (len(mine), len({r["qid"] for r in mine})), rule
    assert facts.dropped["relative_margin"].rows
    assert facts.dropped["unscored"].rows
    assert facts.dropped["max_reuse"].rows
    per_query = Counter(row["qid"] for row in rows if row["selected"] is not None)
    chosen = Counter(per_query[qid] for qid in {row["qid"] for row in rows})
    assert facts.chosen_per_query == dict(sorted(chosen.items()))


def test_short_queries_are_those_with_fewest_negatives(ledger: Path) -> None:
    facts, rows = facts_of(ledger), rows_of(ledger)
    chosen = Counter(row["qid"] for row in rows if row["selected"] is not None)
    short = [(chosen[qid], qid) for qid in {r["qid"] for r in rows} if chosen[qid] < 3]
    assert short
    expected = sorted(short)[: collect.SHORT]
    assert [(one.chosen, one.qid) for one in facts.short] == expected
    for one in facts.short:
        mine = [row for row in rows if row["qid"] == one.qid]
        reasons = Counter(r["dropped_by"] for r in mine if r["dropped_by"] is not None)
        assert (one.rows, dict(one.dropped)) == (len(mine), dict(reasons))


def test_sources_are_counted_by_combination(ledger: Path) -> None:
    facts, rows = facts_of(ledger), rows_of(ledger)
    expected: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for row in rows:
        found = tuple(s for s in ("bm25", "minilm") if row[f"rank_{s}"] is not None)
        expected[found][fate(row)] += 1
    counted = {
        c.sources: {n: k for n, k in zip(slices.FATES, c.fates, strict=True) if k}
        for c in facts.combinations
    }
    assert counted == {sources: dict(fates) for sources, fates in expected.items()}
    assert len(counted) == 4


SEVEN = ("bm25", "minilm", "splade", "near_positive", "same_topic", "previous", "chance")


def seven_sources(queries: int = 30, depth: int = 40) -> list[Rows]:
    """Who found a document differs by its number and the query's."""
    rng = np.random.default_rng(3)
    parts: list[Rows] = [[], []]
    for q in range(queries):
        for d in range(depth):
            one: dict[str, Any] = {"qid": f"q{q:02d}", "docid": f"d{d:02d}", "label": int(d < 2)}
            one |= {"grade": None, "score_ce": 3.0 * (d < 2) + float(rng.normal())}
            for n, source in enumerate(SEVEN):
                one[f"rank_{source}"] = d + 1 if rng.random() < 0.6 - n / 15 else None
                one[f"score_{source}"] = 1 - d / 50
            parts[q % 2].append(one)
    return parts


def test_the_overlap_of_seven_sources_is_told(tmp_path: Path, invoke: Invoke) -> None:
    rows = seven_sources()
    scored, ledger = make_scored(tmp_path, rows, sources=SEVEN), tmp_path / "ledger"
    options = ["--by", "ce", "--relative-margin", 0.1]
    assert invoke("filter", scored, *options, "-o", ledger).exit_code == 0
    audited = invoke("audit", scored, *options, "--seeds", 1, "-o", tmp_path / "audit")
    assert audited.exit_code == 0, audited.stderr
    out = tmp_path / "report.html"
    assert invoke("report", ledger, "-o", out).exit_code == 0
    page = check(out.read_text("utf-8"))
    found = [{s for s in SEVEN if row[f"rank_{s}"] is not None} for part in rows for row in part]
    told = page.told[page.told.index("Of what the source of a row found") :]
    for source in SEVEN:
        mine = [one for one in found if source in one]
        shares = [
            "·" if other == source else f"{sum(other in one for one in mine) / len(mine):.1%}"
            for other in SEVEN
        ]
        assert f"{source} {' '.join(shares)}" in told
    told = page.told[page.told.index("By source, settings as given") :]
    (given,) = [
        row["by_source"]
        for row in json.loads((tmp_path / "audit" / "audit.json").read_text())["rows"]
        if row["hidden"] == "random"
    ]
    for source, one in given.items():
        rate = one["contamination"]
        interval = f"{rate['value']:.1%} {100 * rate['low']:.1f}–{100 * rate['high']:.1f}"
        assert re.search(
            rf"{source} {one['chosen']} {one['alone']} \S+ {re.escape(interval)}", told
        ), told[:900]


def test_ranks_are_counted_and_their_quantiles_exact(ledger: Path) -> None:
    facts, rows = facts_of(ledger), rows_of(ledger)
    for ranks in facts.ranks:
        column = f"rank_{ranks.source}"
        mine = [row[column] for row in rows if fate(row) == "selected" and row[column] is not None]
        shares = [0.1, 0.5, 0.9]
        assert ranks.quantiles(slices.SELECTED, shares) == [
            int(q) for q in np.quantile(mine, shares, method="inverted_cdf")
        ]
        for n in range(ranks.counts.shape[1]):
            here = Counter(fate(row) for row in rows if row[column] == n + 1)
            assert list(ranks.counts[:, n]) == [here[name] for name in slices.FATES]


def margins(rows: Rows) -> dict[tuple[str, str], float]:
    """Score minus the query's worst positive's; absent where either is unknown."""
    positives: dict[str, list[float | None]] = defaultdict(list)
    for row in rows:
        if row["label"] == 1:
            positives[row["qid"]].append(row["score_ce"])
    found = {}
    for row in rows:
        known = [p for p in positives[row["qid"]] if p is not None]
        if known and len(known) == len(positives[row["qid"]]) and row["score_ce"] is not None:
            found[row["qid"], row["docid"]] = row["score_ce"] - min(known)
    return found


def test_distributions_have_the_ledgers_quantiles_and_limits(ledger: Path) -> None:
    facts, rows = facts_of(ledger), rows_of(ledger)
    margin = margins(rows)
    told = {(d.measure.score, d.measure.kind): d for d in facts.distributions}
    assert set(told) == {
        ("ce", "score"),
        ("ce", "margin"),
        ("ce", "relative"),
        ("bm25", "score"),
        ("minilm", "score"),
    }
    for (score, kind), distribution in told.items():
        if kind == "relative":
            continue
        for group in ("positive", "selected", "dropped"):
            mine = [r for r in rows if fate(r) == group and r["dropped_by"] != "unscored"]
            values = [
                r[f"score_{score}"] if kind == "score" else margin.get((r["qid"], r["docid"]))
                for r in mine
            ]
            known = [v for v in values if v is not None]
            histogram = distribution.groups[group]
            assert (histogram.total(), histogram.unknown) == (len(known), len(values) - len(known))
            width = (histogram.high - histogram.low) / histogram.cells
            expected = np.quantile(known, (0.05, 0.5, 0.95), method="inverted_cdf")
            np.testing.assert_allclose(
                histogram.quantiles((0.05, 0.5, 0.95)), expected, atol=0.51 * width, rtol=0
            )
    (limit,) = told["ce", "relative"].limits
    assert (limit.rule, limit.value, limit.low) == ("relative_margin", -0.1, None)
    worst: dict[str, float] = {}
    for row in rows:
        if row["label"] == 1:
            worst[row["qid"]] = min(row["score_ce"], worst.get(row["qid"], math.inf))
    limits = [p - 0.1 * abs(p) for p in worst.values()]
    (limit,) = told["ce", "score"].limits
    assert limit.value == pytest.approx(np.quantile(limits, 0.5, method="inverted_cdf"), abs=0.02)


def test_hubs_are_the_documents_chosen_most(ledger: Path) -> None:
    facts, rows = facts_of(ledger), rows_of(ledger)
    chosen = Counter(r["docid"] for r in rows if r["selected"] is not None)
    positive = Counter(r["docid"] for r in rows if r["label"] == 1)
    assert facts.hubs.documents == len(chosen)
    assert facts.hubs.reuse == sorted(Counter(chosen.values()).items())
    assert facts.hubs.top
    assert [hub.chosen for hub in facts.hubs.top] == sorted(chosen.values(), reverse=True)[
        : len(facts.hubs.top)
    ]
    for hub in facts.hubs.top:
        assert (hub.chosen, hub.positive) == (chosen[hub.docid], positive[hub.docid])


def test_the_random_sample_is_a_share_that_parts_do_not_change(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row for row in rows_of(ledger) if fate(row) != "positive"]
    assert facts_of(ledger).sampled == len(rows)
    monkeypatch.setattr(slices, "SAMPLED_ROWS", len(rows) // 2)
    some = facts_of(ledger).sampled
    assert 0.35 * len(rows) < some < 0.65 * len(rows)
    assert facts_of(ledger).sampled == some
    assert facts_of(ledger, seed=7).sampled != some


def test_examples_are_the_extremes_and_the_rows_at_the_border(ledger: Path) -> None:
    facts, rows = facts_of(ledger), rows_of(ledger)
    groups = {(g.kind, g.side): g.examples for g in examples.collect(facts, 2)}
    margin = margins(rows)
    by_id = {(row["qid"], row["docid"]): row for row in rows}
    chosen = {key: value for key, value in margin.items() if fate(by_id[key]) == "selected"}

    def best(values: dict[tuple[str, str], float]) -> list[tuple[str, str]]:
        """The two smallest, one per query."""
        found: list[tuple[str, str]] = []
        for key in sorted(values, key=lambda k: values[k]):
            if key[0] not in {qid for qid, _ in found}:
                found.append(key)
        return found[:2]

    def ids(kind: str, side: str = "") -> list[tuple[str, str]]:
        return [(e.qid, e.docid) for e in groups[kind, side]]

    assert ids("hardest") == best({key: -value for key, value in chosen.items()})
    assert ids("easiest") == best(chosen)
    assert ids("highest-scoring") == best({key: -by_id[key]["score_ce"] for key in chosen})
    positive = {qid: by_id[qid, d]["score_ce"] - m for (qid, d), m in margin.items()}
    distance = {
        key: by_id[key]["score_ce"] - (positive[key[0]] - 0.1 * abs(positive[key[0]]))
        for key in margin
    }
    dropped = {
        k: abs(v) for k, v in distance.items() if by_id[k]["dropped_by"] == "relative_margin"
    }
    kept = {k: abs(v) for k, v in distance.items() if by_id[k]["dropped_by"] is None}
    assert ids("relative_margin", "dropped") == best(dropped)
    assert ids("relative_margin", "kept") == best(kept)
    assert ids("survivors") == best(
        {k: -by_id[k]["score_ce"] for k in margin if fate(by_id[k]) == "survived"}
    )
    weak = {k: r["score_ce"] for k, r in by_id.items() if r["label"] and r["score_ce"] is not None}
    assert ids("positive") == best(weak)
    ranks = {
        key: min(rank for s in ("bm25", "minilm") if (rank := row[f"rank_{s}"]) is not None)
        for key, row in by_id.items()
        if row["dropped_by"] == "unscored"
        and (row["rank_bm25"] is not None or row["rank_minilm"] is not None)
    }
    assert ids("unscored", "dropped") == best(ranks)
    for (kind, _), group in groups.items():
        for example in group:
            if kind in ("unscored", "positive"):
                continue
            assert example.query_text == f"ask {example.qid}"
            assert example.text.startswith(f"a{example.docid} ")
            assert example.positive is not None
            assert by_id[example.qid, example.positive]["label"] == 1
            assert example.margin == pytest.approx(margin[example.qid, example.docid])


def test_the_scores_are_those_that_the_rules_read(tmp_path: Path, invoke: Invoke) -> None:
    scored = make_scored(tmp_path, make_rows(1))
    options = ["--by", "ce", "--transform", "sigmoid", "--max-fn-rate", 0.4, "--guide", "minilm"]
    result = invoke("filter", scored, *options, "-o", tmp_path / "ledger")
    assert result.exit_code == 0, result.stderr
    facts = facts_of(tmp_path / "ledger")
    first = facts.distributions[0]
    assert first.measure.told == "sigmoid(ce)"
    assert 0 <= first.groups["random"].low < first.groups["random"].high <= 1
    (limit,) = first.limits
    bound = artifacts.open_artifact(tmp_path / "ledger").manifest["calibration"]
    assert (limit.rule, limit.value) == ("max_fn_rate", pytest.approx(bound["threshold"]))
    guide = next(d for d in facts.distributions if d.measure.score == "minilm")
    assert (guide.measure.kind, [(x.rule, x.value) for x in guide.limits]) == (
        "margin",
        [("guide", 0.0)],
    )


def test_histograms_keep_quantiles_to_a_cell() -> None:
    rng = np.random.default_rng(0)
    values = rng.gamma(2.0, size=5000)
    histogram = Histogram(values.min(), values.max(), rows=2)
    for chunk in np.array_split(np.append(values, [np.nan] * 3), 7):
        histogram.add(chunk, np.ones(len(chunk), dtype=np.int64))
    assert (histogram.total(0), histogram.total(1), histogram.unknown) == (0, 5000, 3)
    assert histogram.quantiles([0.5]) == [None]
    width = (histogram.high - histogram.low) / histogram.cells
    shares = [0.0, 0.01, 0.5, 0.99, 1.0]
    expected = np.quantile(values, shares, method="inverted_cdf")
    np.testing.assert_allclose(histogram.quantiles(shares, 1), expected, atol=0.51 * width)
    edges = np.linspace(1.0, 5.0, 9)
    inside = np.histogram(np.clip(values, 1.0, 5.0), edges)[0] / 5000
    np.testing.assert_allclose(histogram.shares(edges, 1), inside, atol=0.01)
    constant = Histogram(3.0, 3.0)
    constant.add(np.full(4, 3.0))
    assert constant.quantiles([0.5])[0] == pytest.approx(3.0, abs=0.01)


# --- the page ---------------------------------------------------------------------------------

VOID = {"meta", "br", "img", "link", "hr", "input", "path", "circle"}


class Page(HTMLParser):
    """Tags, ids, links, texts; fails where tags are not balanced."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.pictures: list[dict[str, str | None]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += attrs
        given = dict(attrs)
        self.ids += [given["id"]] if given.get("id") else []
        self.links += [v for k, v in attrs if k in ("href", "src", "srcset") and v is not None]
        if given.get("role") == "img":
            self.pictures.append(given)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open, tag
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        (self.scripts if self.open[-1:] == ["script"] else self.text).append(data)

    @property
    def told(self) -> str:
        """All texts, white space as a browser shows it."""
        return " ".join(" ".join(self.text).split())


def check(text: str) -> Page:
    """What holds of every page."""
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    assert page.tags["svg"]
    assert not {"link", "iframe", "object", "embed", "img", "form"} & set(page.tags)
    check_scripts(page)
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links), page.links
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert "url(" not in style
    assert "@import" not in style
    assert ("http-equiv", "Content-Security-Policy") in page.attributes
    assert page.pictures
    for picture in page.pictures:
        named = (picture["aria-labelledby"] or "").split()
        assert len(named) == 2
        assert set(named) <= set(page.ids)
    # A picture that tells something has its numbers beside it.
    assert text.count("As a table") == len(page.pictures)
    assert not re.search(ACTING, text)
    assert "None" not in "".join(page.text)
    assert "nan" not in re.findall(r"[a-z]+", "".join(page.text))
    return page


def check_scripts(page: Page) -> None:
    """The page's own script, named by its hash, and its data; or none, and none is allowed."""
    (policy,) = [
        given for _, given in page.attributes if given and given.startswith("default-src 'none'")
    ]
    assert page.tags["script"] == len(page.scripts)
    if not page.scripts:
        assert "script-src" not in policy
        return
    data, script = page.scripts
    assert ("type", "application/json") in page.attributes
    assert json.loads(data)["queries"]
    assert not set("<>&") & set(data)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert "innerHTML" not in script


def data_of(page: Page) -> dict[str, Any]:
    return json.loads(page.scripts[0])


def test_the_page_tells_the_counts(ledger: Path, tmp_path: Path, invoke: Invoke) -> None:
    out = tmp_path / "report.html"
    result = invoke("report", ledger, "-o", out)
    assert (result.exit_code, result.stdout.strip()) == (0, str(out)), result.stderr
    page = check(out.read_text("utf-8"))
    rows = rows_of(ledger)
    counted = Counter(map(fate, rows))
    told = page.told
    pool = len(rows) - counted["positive"]
    assert f"{counted['selected']} negatives for 30 queries, out of {pool} candidates" in told
    for rule in ("relative_margin", "unscored", "max_reuse"):
        count = sum(row["dropped_by"] == rule for row in rows)
        assert f"{rule} {rules.words(rule, FilterParams())} −{count}" in told
    assert "drawn at random" not in told
    assert "have fewer than 3 negatives" in told
    sections = {"funnel", "scores", "hardness", "sources", "reuse", "short", "read", "lineage"}
    assert sections <= set(page.ids)
    assert "audit" not in page.ids


def test_hostile_texts_and_ids_stay_text(tmp_path: Path, invoke: Invoke) -> None:
    rows = make_rows()
    evil = f"{HOSTILE}{SHY}"
    doc_texts = {f"d{n:02d}": f"{evil} {n} " + "\u05d1" * 20 for n in range(40)}
    for part in rows:
        for row in part:
            row["qid"] += "<b>'\"\x1b"
            if row["docid"] == "d07":
                row["docid"] = '"><script>alert(2)</script>'
    query_texts = {row["qid"]: f"{row['qid']} {evil}" for part in rows for row in part}
    scored = make_scored(tmp_path, rows, doc_texts=doc_texts, query_texts=query_texts)
    a, b = tmp_path / "<i>ledger&", tmp_path / "b"
    for out, margin in ((a, 0.1), (b, 0.4)):
        options = ["--by", "ce", "--relative-margin", margin, "--no-near-duplicates"]
        result = invoke("filter", scored, *options, "-o", out)
        assert result.exit_code == 0, result.stderr
    for arguments, name in (([a], "one"), ([a, b], "two")):
        out = tmp_path / f"{name}.html"
        result = invoke("report", *arguments, "-o", out, "--examples", 5)
        assert result.exit_code == 0, result.stderr
        text = out.read_text("utf-8")
        page = check(text)
        told = "".join(page.text)
        assert "<script>alert(1)</script>" in told
        assert text.count("<script") == len(page.scripts) == (2 if name == "one" else 0)
        assert "\\x1b[2J" in told
        assert "c\\u202eevil\\u2066" in told
        assert "<i>ledger&" in told
        assert "\u05d1" in told


def test_queries_are_in_the_page_with_what_became_of_their_candidates(
    ledger: Path, tmp_path: Path, invoke: Invoke
) -> None:
    out = tmp_path / "report.html"
    assert invoke("report", ledger, "-o", out, "--queries", 100).exit_code == 0
    page = check(out.read_text("utf-8"))
    data, rows = data_of(page), rows_of(ledger)
    assert "All 30 queries" in page.told
    of: dict[str, Rows] = defaultdict(list)
    for row in rows:
        of[row["qid"]].append(row)
    assert [query[0] for query in data["queries"]] == list(of)
    for qid, _, text, command, chosen, candidates, shown in data["queries"]:
        assert text == f"ask {qid}"
        assert command.endswith(f"/ledger {qid}")
        assert chosen == sum(row["selected"] is not None for row in of[qid])
        assert candidates == len(of[qid]) == len(shown)
        told = {row["docid"]: row for row in of[qid]}
        scores = []
        for number, fated, rule, values, ranks in shown:
            row = told.pop(data["documents"][number][0])
            assert data["fates"][fated] == fate(row)
            assert rule == ("" if row["label"] else row["dropped_by"] or "")
            for name, value in zip(data["scores"], values, strict=True):
                known = row[f"score_{name}"]
                assert value == (None if known is None else float(f"{known:.4g}")), name
            assert ranks == [row[f"rank_{source}"] for source in data["sources"]]
            assert data["documents"][number][2].startswith(f"a{row['docid']} ")
            scores.append(values[data["by"]])
        assert not told
        assert scores == sorted(scores, key=lambda score: math.inf if score is None else -score)


def test_a_page_holds_so_many_queries_and_says_so(
    ledger: Path, tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_query, "ROWS", 6)
    texts = []
    for wanted in (7, 0):
        out = tmp_path / f"{wanted}.html"
        options = ["--queries", wanted, "--examples", 1]
        assert invoke("report", ledger, "-o", out, *options).exit_code == 0
        texts.append(out.read_text("utf-8"))
    some, none = map(check, texts)
    queries = data_of(some)["queries"]
    assert len(queries) == 7
    assert "7 of 30 queries: those of the examples, the shortest, and others" in some.told
    for *_, chosen, candidates, shown in queries:
        assert candidates == 14
        assert len(shown) == 6
        assert sum(row[1] == slices.SELECTED for row in shown) == chosen
        assert any(row[1] == slices.POSITIVE for row in shown)
    assert not none.scripts
    assert "queries" not in none.ids


def test_the_draw_of_queries_is_the_same_however_the_parts_are_cut(ledger: Path) -> None:
    reader = slices.open_reader(open_candidates(ledger), 42)
    whole = by_query.Draw(8, 42)
    for part in reader.slices():
        whole.add(part)
    drawn = whole.queries()
    assert len({qid for _, qid in drawn}) == 8
    assert len({part for part, _ in drawn}) > 1
    again = by_query.Draw(8, 42)
    for part in reversed(list(reader.slices())):
        again.add(part)
    assert again.queries() == drawn


def test_a_page_without_texts_holds_none(tmp_path: Path, invoke: Invoke) -> None:
    scored = make_scored(
        tmp_path, make_rows(), doc_texts={f"d{n:02d}": f"SECRET {n}" for n in range(40)}
    )
    invoke("filter", scored, *OPTIONS, "-o", tmp_path / "ledger")
    invoke("filter", scored, "--by", "bm25", "-o", tmp_path / "other")
    for arguments in (["ledger"], ["ledger", "other"]):
        out = tmp_path / "page.html"
        paths = [tmp_path / name for name in arguments]
        assert invoke("report", *paths, "--examples", 0, "-o", out, "--force").exit_code == 0
        text = out.read_text("utf-8")
        check(text)
        assert "SECRET" not in text
        assert "ask q" not in text


def test_a_ledger_in_which_nothing_is_known_still_has_a_page(
    tmp_path: Path, invoke: Invoke
) -> None:
    """No positive, no score, nothing chosen."""
    rows = [{"qid": "q", "docid": f"d{n}", "label": 0, "rank_bm25": n + 1} for n in range(3)]
    scored = make_scored(tmp_path, [rows])
    result = invoke("filter", scored, "--by", "ce", "-o", tmp_path / "ledger")
    assert result.exit_code == 0, result.stderr
    out = tmp_path / "report.html"
    result = invoke("report", tmp_path / "ledger", "-o", out)
    assert result.exit_code == 0, result.stderr
    told = check(out.read_text("utf-8")).told
    assert "0 negatives for 1 query, out of 3 candidates" in told


def test_the_same_ledger_gives_the_same_bytes_and_is_up_to_date(
    ledger: Path, tmp_path: Path, invoke: Invoke
) -> None:
    out = tmp_path / "report.html"
    invoke("report", ledger, "-o", out)
    before = out.read_bytes()
    result = invoke("report", ledger, "-o", out)
    assert (result.exit_code, "up to date" in result.stderr) == (0, True)
    assert invoke("report", ledger, "-o", out, "--force").exit_code == 0
    assert out.read_bytes() == before
    result = invoke("report", ledger, "-o", out, "--seed", 7)
    assert result.exit_code == 6
    assert "seed: 42 -> 7" in result.stderr
    assert out.read_bytes() == before
    result = invoke("report", ledger, "-o", "-")
    assert result.exit_code == 0
    assert result.stdout.encode() == before


def test_mistakes_are_told(ledger: Path, tmp_path: Path, invoke: Invoke) -> None:
    out = tmp_path / "report.html"
    for arguments, code, message in (
        ([ledger.parent / "scored", "-o", out], 2, "negmine filter"),
        ([tmp_path / "nowhere", "-o", out], 4, "no such folder"),
        ([ledger, "-o", tmp_path / "report.pdf"], 2, "*.html"),
        ([ledger, ledger, "--audit", ledger, "-o", out], 2, "one ledger"),
        ([ledger, "--audit", ledger.parent / "scored", "-o", out], 2, "audit"),
    ):
        result = invoke("report", *arguments)
        assert (result.exit_code, message in result.stderr) == (code, True), result.stderr
        assert not out.exists()
    out.write_text("mine")
    result = invoke("report", ledger, "-o", out)
    assert (result.exit_code, out.read_text()) == (6, "mine")


# --- what lies beside -------------------------------------------------------------------------


def test_audits_and_exports_of_the_ledger_are_shown(tmp_path: Path, invoke: Invoke) -> None:
    scored = make_scored(tmp_path, make_rows())
    ledger = tmp_path / "ledger"
    settings = ["--by", "ce", "--relative-margin", 0.1]
    assert invoke("filter", scored, *settings, "-o", ledger).exit_code == 0
    sweep = ["--sweep", "relative-margin=0,0.3", "--bias", "bm25", "--seeds", 1]
    result = invoke("audit", scored, *settings, *sweep, "-o", tmp_path / "checked")
    assert result.exit_code == 0, result.stderr
    result = invoke("export", ledger, "--format", "n-tuple", "-o", tmp_path / "train.jsonl")
    assert result.exit_code == 0, result.stderr

    # Beside the ledger, so found without being named.
    out = tmp_path / "pages" / "report.html"
    assert invoke("report", ledger, "-o", out).exit_code == 0
    page = check(out.read_text("utf-8"))
    assert "audit" in page.ids
    assert "15 of 30 queries had known positives hidden" in page.told
    assert "are this ledger's" in page.told
    measured = json.loads((tmp_path / "checked" / "audit.json").read_text())["rows"]
    found = [r["contamination"] for r in measured if r["setting"] == "as given"]
    given = [f"{f['value']:.1%} [{100 * f['low']:.1f}-{100 * f['high']:.1f}]" for f in found]
    assert f"Likely false: {given[0]} (random), {given[1]} (biased:bm25)" in page.told
    assert "#read-relative_margin" in page.links
    assert "read-relative_margin" in page.ids
    assert f"negmine explain {tmp_path.name}/ledger q" in page.told
    exported = re.search(r"exported: train\.jsonl examples, n-tuple (\d+)", page.told)
    assert exported is not None
    assert int(exported[1]) == sum(1 for _ in (tmp_path / "train.jsonl").open())

    # Named, and of other settings; then of other scores.
    audit = tmp_path / "far" / "audit.json"
    options = ["--by", "ce", "--relative-margin", 0.3, "--bias", "bm25", "--seeds", 1]
    assert invoke("audit", scored, *options, "-o", audit).exit_code == 0
    assert invoke("report", ledger, "--audit", audit, "-o", out, "--force").exit_code == 0
    told = check(out.read_text("utf-8")).told
    assert "not all this ledger's: relative-margin differ" in told
    assert "Likely false: not measured; short: " in told
    assert f"To measure it: negmine audit {tmp_path.name}/scored --sweep auto" in told
    other = make_scored(tmp_path / "other", make_rows(5), scorers=("ce", "more"))
    assert invoke("filter", other, *OPTIONS, "-o", tmp_path / "other" / "ledger").exit_code == 0
    result = invoke("report", tmp_path / "other" / "ledger", "--audit", audit, "-o", out, "--force")
    assert result.exit_code == 2
    assert "another table" in result.stderr


@pytest.mark.parametrize("by", ["p_prior", "p_relevant"])
def test_what_was_not_audited_is_estimated_by_what_was_learned(
    tmp_path: Path, invoke: Invoke, by: str
) -> None:
    scored = make_scored(tmp_path, make_rows())
    options = ["--by", by, "--sampler", "top", "--num-negatives", 2]
    ledger, out = tmp_path / "ledger", tmp_path / "report.html"
    result = invoke("filter", scored, *options, "-o", ledger)
    assert result.exit_code == 0, result.stderr
    assert invoke("report", ledger, "-o", out).exit_code == 0
    told = check(out.read_text("utf-8")).told
    values = [row[f"score_{by}"] for row in rows_of(ledger) if row["selected"] is not None]
    rate = 100 * sum(values) / len(values)
    assert rate > 1
    least = {"p_prior": "about", "p_relevant": "at least about"}[by]
    assert f"Likely false: {least} {rate:.1f}% of the negatives (estimated); short: " in told
    assert f"the mean {by} of {len(values)} chosen negatives" in told
    assert "To measure it: negmine audit " in told
    learned = json.loads((ledger / "_manifest.json").read_text()).get("p_prior")
    if learned is not None:
        assert "which is how probably each is relevant" in told
        assert f"model p_prior fitted to {', '.join(learned['fitted_to'])}" in told
        assert f"prior {learned['identity']}" not in told.replace("p_prior", "")


def test_the_verdict_passes_on_what_filter_advised(tmp_path: Path, invoke: Invoke) -> None:
    scored = make_scored(tmp_path, make_rows())
    ledger, out = tmp_path / "ledger", tmp_path / "report.html"
    options = ["--by", "ce", "--absolute-margin", 6, "--num-negatives", 3]
    result = invoke("filter", scored, *options, "-o", ledger)
    assert result.exit_code == 0, result.stderr
    (advice,) = re.findall(
        r"[;:] (--[a-z-]+ \S+) would (leave|choose) ((?:about )?\d+)", result.stderr
    )[:1]
    assert invoke("report", ledger, "-o", out).exit_code == 0
    told = check(out.read_text("utf-8")).told
    assert f"filter again with {advice[0]} (it would {advice[1]} {advice[2]}" in told
    short = sum(n for chosen, n in facts_of(ledger).chosen_per_query.items() if chosen < 3)
    assert f"short: {100 * short / 30:.1f}% of the queries have fewer than 3 negatives; " in told


# --- two ledgers ------------------------------------------------------------------------------


def recount(a: Rows, b: Rows) -> dict[str, Any]:
    """The comparison of two ledgers, by hand."""

    def told(row: dict[str, Any] | None) -> str:
        if row is None:
            return "not a candidate"
        return row["dropped_by"] if fate(row) == "dropped" else fate(row)

    of_a = {(r["qid"], r["docid"]): r for r in a}
    of_b = {(r["qid"], r["docid"]): r for r in b}
    shared = {q for q, _ in of_a} & {q for q, _ in of_b}
    pairs = {key for key in {**of_a, **of_b} if key[0] in shared}
    chosen = [{k for k in pairs if k in t and fate(t[k]) == "selected"} for t in (of_a, of_b)]
    per_query = [
        ({d for q, d in chosen[0] if q == qid}, {d for q, d in chosen[1] if q == qid})
        for qid in shared
    ]
    return {
        "fates": Counter((told(of_a.get(k)), told(of_b.get(k))) for k in pairs),
        "selected": [
            len(chosen[0] & chosen[1]),
            len(chosen[0] - chosen[1]),
            len(chosen[1] - chosen[0]),
        ],
        "identical": sum(x == y for x, y in per_query),
        "most": max(len(x ^ y) for x, y in per_query),
        "queries": len(shared),
    }


@pytest.mark.parametrize("same_parts", [True, False])
def test_two_ledgers_are_compared_pair_by_pair(
    ledger: Path, tmp_path: Path, invoke: Invoke, same_parts: bool
) -> None:
    if same_parts:
        scored = ledger.parent / "scored"
    else:
        # Other candidates, in other parts and another order, and some queries of its own.
        rows = [row for part in make_rows(queries=36, depth=12) for row in part]
        per_query: dict[str, Rows] = defaultdict(list)
        for row in rows:
            per_query[row["qid"]].append(row)
        order = sorted(per_query, reverse=True)[:-4]
        parts = [[r for q in order[n::2] for r in per_query[q]] for n in range(2)]
        scored = make_scored(tmp_path / "b", parts, sources=("minilm", "bm25"))
    other = tmp_path / "other"
    options = ["--by", "ce", "--absolute-margin", 1, "--num-negatives", 4, "-o", other]
    assert invoke("filter", scored, *options).exit_code == 0
    found = compare.compare(facts_of(ledger), facts_of(other))
    expected = recount(rows_of(ledger), rows_of(other))
    assert dict(found.fates) == dict(expected["fates"])
    assert found.selected == expected["selected"]
    assert found.identical == expected["identical"]
    assert found.queries[0] == expected["queries"] == found.agreement.sum()
    assert found.same_candidates == same_parts
    assert ("absolute-margin", None, 1.0) in found.settings
    first = found.changed[0]
    assert len(first.first) + len(first.second) == expected["most"]
    assert first.text == f"ask {first.qid}"
    assert set(first.texts) == {*first.first, *first.second}

    out = tmp_path / "compare.html"
    result = invoke("report", ledger, other, "-o", out)
    assert result.exit_code == 0, result.stderr
    told = check(out.read_text("utf-8")).told
    both, only_a, only_b = expected["selected"]
    assert f"share {both} of {both + only_a + only_b} negatives" in told


def test_a_ledger_against_itself_has_not_changed(ledger: Path) -> None:
    found = compare.compare(facts_of(ledger), facts_of(ledger))
    assert (found.selected[1:], found.identical, found.changed) == ([0, 0], 30, [])
    assert found.settings == []
    assert all(a == b for a, b in found.fates)


def test_ledgers_without_a_query_in_common_cannot_be_compared(
    ledger: Path, tmp_path: Path, invoke: Invoke
) -> None:
    rows = [{**row, "qid": f"other {row['qid']}"} for part in make_rows() for row in part]
    scored = make_scored(tmp_path / "b", [rows])
    assert invoke("filter", scored, *OPTIONS, "-o", tmp_path / "b" / "ledger").exit_code == 0
    result = invoke("report", ledger, tmp_path / "b" / "ledger", "-o", tmp_path / "x.html")
    assert result.exit_code == 2
    assert "share no query" in result.stderr


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"path": "/home/someone/corpus.jsonl", "bytes": 2048}, ("corpus.jsonl", "2 KiB")),
        (
            {"path": "/data/beir/", "files": {"a": {"bytes": 5}, "b": {"bytes": 7}}},
            ("beir", "12 B"),
        ),
        ({"path": "ir_datasets:x/y", "version": "0.5"}, ("ir_datasets:x/y", "0.5")),
        ({"path": "s3://bucket/a/b.jsonl", "bytes": 1}, ("s3://bucket/a/b.jsonl", "1 B")),
        ({"path": "hf://a/b"}, ("hf://a/b", "")),
    ],
)
def test_inputs_are_named_without_the_readers_folders(
    record: dict[str, Any], told: tuple[str, str]
) -> None:
    from negmine.commands.report import page

    manifest = {"stage": "index.documents", "fingerprint": "f", "params": {}, "negmine": "0"}
    manifest |= {"inputs": {"corpus": record}}
    (made,) = page._lineage(artifacts.Artifact(Path(), manifest))
    assert made.inputs == [("corpus", *told)]


# --- words and marks --------------------------------------------------------------------------


def test_texts_lose_what_acts_and_keep_what_is_read() -> None:
    letters = "\u0645\u06cc\u200c\u062e \U0001f469\u200d\U0001f52c na\u00efve\t\u05e9\n"
    assert words.safe(letters) == letters
    assert words.safe("a\u202eb\x00\x9b") == "a\\u202eb\\x00\\x9b"
    assert words.safe("abcdef", 3) == "abc…"
    assert words.safe("abc", 3) == "abc"
    assert (words.percent(1, 100000), words.percent(99999, 100000)) == ("< 0.1%", "> 99.9%")
    assert (words.percent(0, 10), words.percent(1, 0)) == ("0.0%", "–")
    assert (words.number(-1234), words.number(-0.5), words.number(None)) == ("−1,234", "−0.5", "–")


def test_a_figure_is_named_escaped_and_without_colours() -> None:
    panel = plot.Panel(
        "<t>",
        "x & y",
        "<y>",
        [plot.Series("<s>", [plot.Point(1, 0.5, "<p>", 0.4, 0.6), plot.Point(2, 0.7)])],
        steps=[plot.Steps("h", "selected", [0, 1, 2], [0.5, 0.25], filled=True)],
        bands=[plot.Band("b", "candidates", [(0.0, 0.1, 0.2), (1.0, 0.1, 0.3)])],
        markers=[plot.Marker(1.0, "one limit"), plot.Marker(1.01, "another", 0.5, 1.5)],
        legend=True,
    )
    text = plot.figure(panel, "f1", "<d>")
    assert Page(text).pictures[0]["aria-labelledby"] == "f1-title f1-desc"
    for mark in ("&lt;t&gt;", "&lt;d&gt;", "&lt;p&gt;", "x &amp; y"):
        assert mark in text
    assert not re.search(r'(fill|stroke|style)="', text)
    places = re.findall(r'<text class="marker" x="[\d.]+" y="([\d.]+)"', text)
    assert len(set(places)) == 2, "labels that would overlap stand on lines of their own"
    assert plot.figure(panel, "f1", "<d>") == text
    assert "NaN" not in plot.figure(plot.Panel("", "", "", []), "f2", "")


# --- in a browser -----------------------------------------------------------------------------


def test_a_browser_opens_the_page_and_runs_nothing(tmp_path: Path, invoke: Invoke) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("chromium is not installed")
    attack = f"{HOSTILE}<script>document.title = 'taken'</script><img src=x onerror=alert(1)>"
    doc_texts = {f"d{n:02d}": f"{attack} {n}" for n in range(40)}
    scored = make_scored(tmp_path, make_rows(), doc_texts=doc_texts)
    options = [*OPTIONS, "--no-near-duplicates"]
    assert invoke("filter", scored, *options, "-o", tmp_path / "ledger").exit_code == 0
    out, picture = tmp_path / "report.html", tmp_path / "page.png"
    assert invoke("report", tmp_path / "ledger", "-o", out).exit_code == 0
    quiet = ["quic", "sync", "background-networking", "component-update", "gpu"]
    flags = ["--headless", "--no-sandbox", "--no-first-run", "--hide-scrollbars"]
    flags += [f"--disable-{name}" for name in quiet]
    result = subprocess.run(
        [
            *(browser, *flags, f"--user-data-dir={tmp_path / 'profile'}"),
            *("--window-size=390,1200", f"--screenshot={picture}", "--dump-dom", out.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if not picture.is_file():
        pytest.skip(f"chromium does not run here: {result.stderr[-200:]}")
    assert picture.stat().st_size > 20_000, "the page is empty"
    if result.stdout:
        assert "<title>" in result.stdout
        assert "taken</title>" not in result.stdout
        assert result.stdout.count("<script") == 2


def test_the_report_needs_no_model_library(ledger: Path, tmp_path: Path) -> None:
    out = tmp_path / "light.html"
    code = (
        "import sys\nsys.argv = ['negmine', *sys.argv[1:]]\nfrom negmine.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'transformers', 'jnius', 'faiss', 'onnxruntime'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code, "report", str(ledger), "-o", str(out)], check=True)
    assert out.is_file()
