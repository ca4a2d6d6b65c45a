"""``negmine report`` in a real browser: Debian's chromium, driven by playwright."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.chains import call
from tests.commands.test_report import HOSTILE, OPTIONS, SEVEN, make_rows, seven_sources
from tests.servers.answers import judging
from tests.servers.chat import MODEL, ChatServer
from tests.servers.judges import overlap
from tests.servers.reading import KnownTexts
from tests.stages.write.test_write import collection, lines
from tests.tables import make_scored

#: A phone, in CSS pixels.
PHONE = {"width": 390, "height": 844}
#: What reaches beyond the window, but for what lies in a box that scrolls.
BEYOND = """() => [...document.querySelectorAll("body *")]
  .filter((e) => !e.closest(".scroll") && e.getBoundingClientRect().right > innerWidth + 1)
  .map((e) => `${e.tagName} ${e.className} ${e.textContent.slice(0, 40)}`)"""
#: Enough of them that no two documents count as copies.
WORDS = [f"{a}{b}" for a in "bcdfghklm" for b in "aeiou"]
LONG = "0123456789abcdef" * 2


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a ledger with texts that attack, and one query whose id is a digest."""
    folder = tmp_path_factory.mktemp("browser")
    rows = make_rows()
    for part in rows:
        for row in part:
            row["qid"] = LONG if row["qid"] == "q05" else row["qid"]
    attack = f"{HOSTILE}</script><script>document.title = 'taken'</script>" + "wide" * 60
    scored = make_scored(
        folder,
        rows,
        doc_texts={
            f"d{n:02d}": f"{' '.join(f'{w}{n}' for w in WORDS)} {attack}" for n in range(40)
        },
        query_texts={LONG: f"who wrote the zebra psalm? {attack}"},
    )
    code, told = call("filter", scored, *OPTIONS, "--no-near-duplicates", "-o", folder / "ledger")
    assert code == 0, told
    code, told = call("report", folder / "ledger", "-o", folder / "report.html")
    assert code == 0, told
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as driver:
        try:
            started = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(f"chromium does not run here: {error}")
        yield started
        started.close()


class Opened:
    """A page in the browser, with what it asked for and complained of."""

    def __init__(self, browser: Any, file: Path, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.as_uri())

    def __enter__(self) -> Any:
        return self.page

    def __exit__(self, *error: object) -> None:
        self.context.close()
        if error == (None, None, None):
            assert self.complaints == []
            assert len(self.requests) == 1, self.requests


def test_a_query_is_found_and_opened(browser: Any, page_file: Path) -> None:
    with Opened(browser, page_file, permissions=["clipboard-read", "clipboard-write"]) as page:
        assert "taken" not in page.title()
        results = page.locator("#results li")
        assert results.count() == 30
        page.fill("#search", "ZEBRA wrote")
        assert results.count() == 1
        assert page.inner_text("#found") == "1 of 30 found"
        results.locator("a").click()
        view = page.locator("#query")
        view.wait_for(state="visible")
        head = view.locator(".q").inner_text()
        assert "who wrote the zebra psalm? </style></title>" in head
        shown = view.locator(".id").first
        assert (shown.inner_text(), shown.get_attribute("title")) == (LONG[:12], LONG)
        rows = view.locator("tbody tr")
        assert rows.count() == 14
        told = [text.strip() for text in view.locator("td.fate").all_inner_texts()]
        assert "chosen" in told
        assert "known positive" in told
        assert "dropped: relative_margin" in told
        # The rule leads to its examples, and back the view stands as it was.
        view.locator("td.fate a", has_text="relative_margin").first.click()
        assert page.url.endswith("#read-relative_margin")
        page.go_back()
        assert page.url.endswith("#query-5")
        view.locator(".copy-button").click()
        view.locator(".copy-button", has_text="copied").wait_for()
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied == view.locator("code").inner_text()
        assert copied.startswith("negmine explain ")
        page.fill("#search", "there is no such query")
        assert results.count() == 0


def test_short_queries_and_examples_lead_to_their_candidates(browser: Any, page_file: Path) -> None:
    with Opened(browser, page_file) as page:
        page.check("#only-short")
        found = page.locator("#results li").all_inner_texts()
        assert 0 < len(found) < 30
        assert not [text for text in found if "3 chosen" in text]
        link = page.locator("#read a.opener").first
        qid = link.locator("xpath=preceding-sibling::span[1]").inner_text()
        link.click()
        assert qid in page.locator("#query .q").inner_text()
        rows = page.locator("#funnel tbody tr")
        assert page.locator("#funnel tbody a").count() == rows.count() > 5
        for anchor in page.locator("#funnel tbody a").all():
            assert page.locator(anchor.get_attribute("href")).count() == 1


def test_without_javascript_the_page_is_complete(browser: Any, page_file: Path) -> None:
    with Opened(browser, page_file, java_script_enabled=False) as page:
        for section in ("funnel", "scores", "hardness", "sources", "reuse", "short", "read"):
            assert page.locator(f"#{section}").is_visible(), section
        assert "needs JavaScript" in page.locator("#no-script").inner_text()
        assert not page.locator("#lookup").is_visible()
        assert page.locator("#read .example").count() > 10


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_cuts_nothing(browser: Any, page_file: Path, scheme: str) -> None:
    with Opened(browser, page_file, viewport=PHONE, color_scheme=scheme) as page:
        for place in ("", "#query-5"):
            page.evaluate(f"location.hash = {place!r}")
            page.wait_for_timeout(100)
            assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"], place
            assert page.evaluate(BEYOND) == [], place
        assert page.locator("#query").is_visible()


def test_seven_sources_are_read_without_scrolling_on_a_screen(browser: Any, tmp_path: Path) -> None:
    """On a phone their tables scroll in their boxes, and the page does not."""
    scored = make_scored(tmp_path, seven_sources(), sources=SEVEN)
    for command in (
        ["filter", scored, "--by", "ce", "-o", tmp_path / "ledger"],
        ["report", tmp_path / "ledger", "-o", tmp_path / "report.html"],
    ):
        code, told = call(*map(str, command))
        assert code == 0, told
    hidden = """() => [...document.querySelectorAll("#sources .scroll")]
      .filter((e) => e.scrollWidth > e.clientWidth + 1).length"""
    with Opened(browser, tmp_path / "report.html", viewport={"width": 1100, "height": 900}) as page:
        assert page.locator("#sources .scroll").count() == 3
        assert page.evaluate(hidden) == 0
    with Opened(browser, tmp_path / "report.html", viewport=PHONE) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        assert page.evaluate(BEYOND) == []


def test_the_page_prints(browser: Any, page_file: Path, tmp_path: Path) -> None:
    with Opened(browser, page_file, color_scheme="dark") as page:
        ink = "getComputedStyle(document.body).color"
        assert page.evaluate(ink) == "rgb(233, 231, 225)"
        page.emulate_media(media="print")
        assert page.evaluate(ink) == "rgb(28, 27, 25)", "dark ink on white paper"
        assert not page.locator("#queries").is_visible()
        assert not page.locator(".copy-button").first.is_visible()
        assert page.locator("#read").is_visible()
        file = tmp_path / "report.pdf"
        page.pdf(path=file, format="A4")
        assert file.read_bytes().startswith(b"%PDF")
        assert file.stat().st_size > 20_000


def test_no_other_script_may_run(browser: Any, page_file: Path) -> None:
    opened = Opened(browser, page_file)
    opened.page.evaluate(
        """() => {
          const script = document.createElement("script");
          script.textContent = "document.title = 'taken'";
          document.body.append(script);
        }"""
    )
    assert "taken" not in opened.page.title()
    assert any("Content Security Policy" in text for text in opened.complaints)
    opened.context.close()


@pytest.fixture(scope="module")
def told_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a ledger that was judged, has written texts, and was audited in both ways."""
    folder = tmp_path_factory.mktemp("told")
    data = collection(folder / "data")
    queries = [row["text"] for row in lines(data / "queries.jsonl")]
    asked = ("--queries", data, "--qrels", data / "qrels.tsv")
    sources = ("--source", "bm25", "--source", f"written=written:{folder / 'written'}")
    made = ("--by", "judge", "--max-score", 0.9, "--num-negatives", 3)
    audit = ("audit", folder / "ledger", "--judge", "judge", "--sample", 20)

    def done(*words: object) -> None:
        code, told = call(*words)
        assert code == 0, told

    index, candidates, scored = folder / "index", folder / "candidates", folder / "scored"
    done("index", "--corpus", data, "-o", index)
    done("write", index, *asked, "--kind", "minimal-pair", "--each", 3, "-o", folder / "written")
    done("retrieve", index, *asked, "-k", 8, *sources, "-o", candidates)
    texts = (
        lines(data / "corpus.jsonl")
        + pq.read_table(folder / "written" / "part-00000.parquet").to_pylist()
    )
    documents = [row["text"] for row in texts] + [f"{row['title']} {row['text']}" for row in texts]
    with ChatServer(judging(overlap, KnownTexts(queries, documents))) as server:
        judge = f"judge=llm:{MODEL}@{server.url}"
        done("rerank", candidates, "--scorer", judge, "--trust-anyway", "-o", scored)
    done("filter", scored, *made, "-o", folder / "ledger")
    done(*audit, "--sheet", folder / "sheet.csv")
    sheet = (folder / "sheet.csv").read_text(encoding="utf-8")
    (folder / "sheet.csv").write_text(re.sub(r"(?m)^(\d+),,", r"\1,no,", sheet), encoding="utf-8")
    done(*audit, "--gold", folder / "sheet.csv", "-o", folder / "by-people")
    done("audit", scored, *made, "-o", folder / "by-hiding")
    done("report", folder / "ledger", "-o", folder / "report.html")
    return folder / "report.html"


@pytest.mark.parametrize("viewport", [PHONE, {"width": 1100, "height": 900}], ids=["phone", "desk"])
def test_judges_written_texts_and_audits_fit(
    browser: Any, told_page: Path, viewport: dict[str, int]
) -> None:
    with Opened(browser, told_page, viewport=viewport) as page:
        assert page.evaluate(BEYOND) == []
        assert page.locator("#written tbody tr").count() == 3
        assert page.locator("#judges tbody tr").count() == 2
        heads = page.locator("#audit h3").all_inner_texts()
        assert heads == ["by-people: positives that nobody labelled", "by-hiding"]
        assert "by what people said of a sample" in page.inner_text("#audit p >> nth=0")
        for name in ("written", "judges", "audit"):
            page.locator(f'nav a[href="#{name}"]').first.click()
            assert page.url.endswith(f"#{name}")
