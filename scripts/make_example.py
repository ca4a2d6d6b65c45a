"""The pairs of the README's example: verses, each with the same verse in two other translations.

Among them are verses that stand twice in the Bible (swords and plowshares in Isaiah 2:4 and in
Micah 4:3, Sennacherib's war in Kings and in Isaiah): positives of each other that no pair says are
any. The texts come from the packages that ``make_verses.py`` names; the same versions give the
same bytes::

    python scripts/make_example.py examples/verses.jsonl
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

from make_verses import QUERIES, reference, spread, translation, write

#: The translations whose verses are the positives.
POSITIVES = ("kjv", "web")
#: What stands twice.
TWICE = {
    *("EXO.20.13", "DEU.5.17"),
    *("ISA.2.4", "MIC.4.3"),
    *("PSA.14.1", "PSA.53.1"),
    *("2SA.22.3", "PSA.18.2"),
    *("2KI.19.1", "ISA.37.1"),
    *("2KI.19.35", "ISA.37.36"),
    *("2CH.36.23", "EZR.1.3"),
    *("PRO.14.12", "PRO.16.25"),
    *("MAT.5.3", "LUK.6.20"),
    *("MRK.4.9", "LUK.14.35"),
}
#: How many verses from here and there come on top.
OTHERS = 40


def main() -> None:
    """Write the pairs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, metavar="OUT", help="the file to write")
    out = parser.parse_args().out

    counts: Counter[str] = Counter()
    asked = translation(QUERIES, {}, counts)
    documents = {name: translation(name, asked, counts) for name in POSITIVES}
    common = [verse for verse in asked if all(verse in texts for texts in documents.values())]
    twice = [verse for verse in common if reference(verse) in TWICE]
    pairs = [
        {
            "query_id": reference(verse),
            "query": asked[verse],
            "positive_id": f"{name}:{reference(verse)}",
            "positive": texts[verse],
        }
        for verse in sorted({*twice, *spread(common, OTHERS)})
        for name, texts in documents.items()
    ]
    write(out, [json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs])


if __name__ == "__main__":
    main()
