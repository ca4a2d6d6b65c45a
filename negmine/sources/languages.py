"""The languages of BM25: which of Lucene's analysers reads a corpus, and which fits its script.

An analyser cuts a text into words and takes their endings off. Anserini's own choice for a
language is kept (``AnalyzerMap``); Lucene has some more. Two names are no languages:

* ``ngram``: words of scripts with spaces, their sequences of three characters, and pairs of
  characters of Chinese, Japanese and Korean. It needs no dictionary, so it serves every script.
* ``pretokenized``: the words are what stands between blanks.

Thai is read as ``ngram``: Lucene's analyser needs a dictionary that only some Java runtimes have,
and an index must not depend on which one made it.

What ``auto`` takes follows from a sample of the corpus: from its most frequent script, and among
the languages written in Latin or Cyrillic letters from the share of their most frequent words. The
English analyser is taken where no other is sure.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.errors import UsageError, did_you_mean
from negmine.table.documents import Documents, full_text

AUTO, ENGLISH, NGRAM, PRETOKENIZED = "auto", "en", "ngram", "pretokenized"
#: Lucene's analysers by ISO 639's code, as Anserini chooses them, and those that it leaves out.
ANALYZERS = {
    "ar": "ar.ArabicAnalyzer",
    "bg": "bg.BulgarianAnalyzer",
    "bn": "bn.BengaliAnalyzer",
    "ca": "ca.CatalanAnalyzer",
    "ckb": "ckb.SoraniAnalyzer",
    "cs": "cz.CzechAnalyzer",
    "da": "da.DanishAnalyzer",
    "de": "de.GermanAnalyzer",
    "el": "el.GreekAnalyzer",
    "es": "es.SpanishAnalyzer",
    "et": "et.EstonianAnalyzer",
    "eu": "eu.BasqueAnalyzer",
    "fa": "fa.PersianAnalyzer",
    "fi": "fi.FinnishAnalyzer",
    "fr": "fr.FrenchAnalyzer",
    "ga": "ga.IrishAnalyzer",
    "gl": "gl.GalicianAnalyzer",
    "hi": "hi.HindiAnalyzer",
    "hu": "hu.HungarianAnalyzer",
    "hy": "hy.ArmenianAnalyzer",
    "id": "id.IndonesianAnalyzer",
    "it": "it.ItalianAnalyzer",
    "ja": "ja.JapaneseAnalyzer",
    "ko": "cjk.CJKAnalyzer",
    "lt": "lt.LithuanianAnalyzer",
    "lv": "lv.LatvianAnalyzer",
    "ne": "ne.NepaliAnalyzer",
    "nl": "nl.DutchAnalyzer",
    "no": "no.NorwegianAnalyzer",
    "pl": "morfologik.MorfologikAnalyzer",
    "pt": "pt.PortugueseAnalyzer",
    "ro": "ro.RomanianAnalyzer",
    "ru": "ru.RussianAnalyzer",
    "sr": "sr.SerbianAnalyzer",
    "sv": "sv.SwedishAnalyzer",
    "ta": "ta.TamilAnalyzer",
    "te": "te.TeluguAnalyzer",
    "tr": "tr.TurkishAnalyzer",
    "uk": "uk.UkrainianMorfologikAnalyzer",
    "zh": "cjk.CJKAnalyzer",
}
#: What ``--language`` takes.
NAMES = (AUTO, ENGLISH, *ANALYZERS, "th", NGRAM, PRETOKENIZED)

#: Scripts that are told apart, as RE2 writes them.
_SCRIPTS = (
    *("Latin", "Cyrillic", "Greek", "Arabic", "Hebrew", "Armenian", "Georgian", "Ethiopic"),
    *("Devanagari", "Bengali", "Gurmukhi", "Gujarati", "Oriya", "Tamil", "Telugu", "Kannada"),
    *("Malayalam", "Sinhala", "Hangul", "Han", "Hiragana", "Katakana"),
    *("Thai", "Lao", "Khmer", "Myanmar", "Tibetan"),
)
_KANA = ("Hiragana", "Katakana")
_EAST = ("Han", *_KANA, "Hangul")
#: Letters that a character of these is worth beside other scripts: Chinese texts about computers
#: have more Latin letters than Chinese ones.
_LETTERS = 3
#: Scripts without spaces between words.
_UNSPACED = (*_EAST[:3], "Thai", "Lao", "Khmer", "Myanmar", "Tibetan")
#: The language of a script that has one analyser, or none of its own.
_OF_SCRIPT = {
    **{"Greek": "el", "Armenian": "hy", "Devanagari": "hi", "Bengali": "bn", "Tamil": "ta"},
    **{"Telugu": "te", "Hangul": "ko", "Han": "zh", "Hiragana": "ja", "Katakana": "ja"},
    **dict.fromkeys(("Thai", "Lao", "Khmer", "Myanmar", "Tibetan"), NGRAM),
}
#: The scripts of a language, where they are not Latin; ``ngram`` and the like take any.
_SCRIPTS_OF = {
    **dict.fromkeys(("bg", "ru", "uk"), ("Cyrillic",)),
    "sr": ("Cyrillic", "Latin"),
    **dict.fromkeys(("ar", "ckb", "fa"), ("Arabic",)),
    **dict.fromkeys(("hi", "ne"), ("Devanagari",)),
    **dict.fromkeys(("zh", "ko", "ja"), _EAST),
    **{"bn": ("Bengali",), "el": ("Greek",), "hy": ("Armenian",), "ta": ("Tamil",)},
    "te": ("Telugu",),
}
#: The most frequent words of languages that share a script.
_FREQUENT = {
    "Latin": {
        "en": "the of and to in is that for it with as are on be this by was at from",
        "de": "der die und das ist den von zu mit sich des auf nicht ein dem eine auch wird",
        "fr": "le la les et des est un une du dans que pour qui au sur pas par avec ce",
        "es": "el la los de y que en un una las por con es para del se al como su",
        "it": "il la di che e non è un una per del della sono con i gli nel le si",
        "pt": "o a os de e que em um uma do da para com não as dos na no por é",
        "nl": "de het een van en is dat in op niet met te voor zijn aan er die als",
        "da": "og er det at en til på den for af med ikke der som et har de",
        "sv": "och är det att en på som för av med den inte till ett har om",
        "no": "og er det at en på som for av med ikke til den har et å",
        "fi": "ja on ei se että hän oli ovat myös mutta kun joka sen tai niin",
        "hu": "a az és egy hogy nem is van meg ez volt azt de már csak",
        "tr": "ve bir bu için ile da de olarak çok daha olan en var gibi ne",
        "pl": "i w na z się nie do to że jest o jak co przez po od dla",
        "cs": "a se v na je že s z do to o jako by pro od který ale jsou",
        "ro": "și în de la cu un o pe nu este că care din mai pentru sunt",
        "id": "yang dan di dengan untuk dari ini itu pada adalah tidak ke dalam akan",
        "ca": "el la de i que en els un una per les amb és del al com no",
    },
    "Cyrillic": {
        "ru": "и в не на что с как по это из у для от но к он за так был",
        "uk": "і в не на що з як до це у від для та але він є про за",
        "bg": "и в на не да се за от е с че по са като но това до си",
        "sr": "и у је да на се за од са су не што као који али из",
    },
}
#: A language is taken for another than English (Russian, among Cyrillic ones) where so many of a
#: text's words are its most frequent ones, so many of them different ones ("de novo" and "in vitro"
#: are no Dutch), and so many times as many as English's.
_FREQUENT_SHARE, _DIFFERENT, _BEFORE_OTHERWISE = 0.08, 4, 1.5
#: Letters of Persian that Arabic has not: this share of its letters tells it.
_PERSIAN, _PERSIAN_SHARE = "[پچژگکی]", 0.02
_SAMPLED_PARTS, _SAMPLED_ROWS, _SAMPLED_CHARACTERS = 8, 250, 500
#: Letters that do not fit are told from this share on.
_TOLD = 0.1


@dataclass(frozen=True)
class Reading:
    """How a corpus is read.

    Attributes:
        language: a name of :data:`NAMES` other than ``auto`` and ``th``.
        shares: of the sampled letters, how many are of each script, the largest first.
    """

    language: str
    shares: dict[str, float]

    def told(self) -> str:
        """The scripts, in words."""
        largest = list(self.shares.items())[:2]
        return ", ".join(f"{share:.0%} {script}" for script, share in largest if share >= 0.005)


def check(language: str) -> str:
    """``language`` if ``--language`` takes it.

    Raises:
        UsageError: it is none of :data:`NAMES`.
    """
    if language not in NAMES:
        raise UsageError(
            f"--language: unknown language '{language}'", hint=did_you_mean(language, NAMES)
        )
    return language


def of_corpus(documents: Documents, asked: str) -> Reading:
    """How to read a corpus, from a sample of it spread over its parts.

    Args:
        documents: the corpus.
        asked: what ``--language`` says.
    """
    numbers = np.linspace(0, len(documents.names) - 1, _SAMPLED_PARTS).round().astype(int)
    pieces = []
    for number in sorted(set(numbers.tolist())):
        part = documents.artifact.read(documents.names[number], ["title", "text"])
        rows = np.linspace(0, part.num_rows - 1, _SAMPLED_ROWS).round().astype(int)
        pieces.append(full_text(part.take(pa.array(np.unique(rows)))))
    return of_texts(pa.chunked_array(pieces, pa.string()).combine_chunks(), asked)


def of_texts(texts: pa.Array, asked: str) -> Reading:
    """How to read texts like these; see :func:`of_corpus`."""
    if asked == "th":
        asked = NGRAM
    found = shares(texts)
    return Reading(_detected(_cut(texts), found) if asked == AUTO else asked, found)


def _cut(texts: pa.Array) -> pa.Array:
    """The beginnings of texts, of as many as a sample of a corpus has."""
    some = texts.slice(0, _SAMPLED_PARTS * _SAMPLED_ROWS)
    return pc.utf8_slice_codeunits(some, 0, _SAMPLED_CHARACTERS)


def shares(texts: pa.Array) -> dict[str, float]:
    """Of the letters of some texts, the share of each script that occurs, the largest first."""
    texts = _cut(texts)
    joined = pa.array(["\n".join(texts.to_pylist())], pa.large_string())
    counts = {
        script: pc.count_substring_regex(joined, rf"\p{{{script}}}")[0].as_py()
        for script in _SCRIPTS
    }
    total = max(1, sum(counts.values()))
    largest_first = sorted(counts.items(), key=lambda item: -item[1])
    return {script: count / total for script, count in largest_first if count}


def misfit(reading: Reading) -> str | None:
    """The letters that an analyser does not cut into words as their language has them, if any."""
    if reading.language in (NGRAM, PRETOKENIZED):
        return None
    own = (*_SCRIPTS_OF.get(reading.language, ("Latin",)), "Latin")
    strange = {s: share for s, share in reading.shares.items() if s not in own}
    unspaced = sum(share for script, share in strange.items() if script in _UNSPACED)
    if unspaced < _TOLD and sum(strange.values()) < 0.5:
        return None
    told = ", ".join(f"{share:.0%} {script}" for script, share in strange.items() if share >= 0.01)
    return f"{told} letters in texts that BM25 reads as '{reading.language}'"


def analyzer(language: str) -> Any:
    """Lucene's analyser for a language of :class:`Reading`; Java has to be running."""
    from negmine.sources import jvm

    if language == ENGLISH:
        return jvm.java_class("io.anserini.index.IndexCollection").DEFAULT_ANALYZER
    if language == NGRAM:
        return _ngrams()
    name = "core.WhitespaceAnalyzer" if language == PRETOKENIZED else ANALYZERS[language]
    return jvm.java_class(f"org.apache.lucene.analysis.{name}")()


def _ngrams() -> Any:
    from negmine.sources import jvm

    empty = jvm.java_class("java.util.HashMap")
    grams = empty()
    # With the words themselves, so that those of one or two characters are found, too.
    for name, value in (("minGramSize", "3"), ("maxGramSize", "3"), ("preserveOriginal", "true")):
        grams.put(name, value)
    builder = jvm.java_class("org.apache.lucene.analysis.custom.CustomAnalyzer").builder()
    builder = builder.withTokenizer("standard", empty()).addTokenFilter("lowercase", empty())
    return builder.addTokenFilter("cjkBigram", empty()).addTokenFilter("nGram", grams).build()


def _detected(texts: pa.Array, found: dict[str, float]) -> str:
    if not found:
        return ENGLISH
    script = max(found, key=lambda one: found[one] * (_LETTERS if one in _EAST else 1))
    if script in _EAST:
        # Japanese has many Han letters, but a tenth and more of it is kana; Chinese has none.
        east = sum(found.get(one, 0.0) for one in _EAST)
        kana = sum(found.get(one, 0.0) for one in _KANA)
        if found.get("Hangul", 0.0) > east / 2:
            return "ko"
        return "ja" if kana > 0.1 * east else "zh"
    if script == "Arabic":
        return "fa" if _share(texts, _PERSIAN, r"\p{Arabic}") > _PERSIAN_SHARE else "ar"
    if script in _FREQUENT:
        return _by_words(texts, _FREQUENT[script], ENGLISH if script == "Latin" else "ru")
    return _OF_SCRIPT.get(script, NGRAM)


def _share(texts: pa.Array, some: str, of: str) -> float:
    counts = [pc.sum(pc.count_substring_regex(texts, what)).as_py() or 0 for what in (some, of)]
    return counts[0] / max(1, counts[1])


def _by_words(texts: pa.Array, frequent: dict[str, str], otherwise: str) -> str:
    """The language whose most frequent words a text has most of, where that is sure."""
    words = re.findall(r"[^\W\d_]+", " ".join(texts.to_pylist()).lower())
    counts = Counter(words)
    found = {
        language: [counts[word] for word in listed.split() if counts[word]]
        for language, listed in frequent.items()
    }
    best = max(found, key=lambda language: sum(found[language]))
    least = max(_FREQUENT_SHARE * len(words), _BEFORE_OTHERWISE * sum(found[otherwise]))
    sure = len(found[best]) >= _DIFFERENT and sum(found[best]) >= least
    return best if sure else otherwise
