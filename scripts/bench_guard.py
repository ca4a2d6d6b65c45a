"""What the identity guard drops in nine kinds of text that should stay, and misses that should go.

::

    python scripts/bench_guard.py                          # rates, the same on every machine
    python scripts/bench_guard.py --against REV            # and those of another revision
    python scripts/bench_guard.py --against REV --english FOLDER --rounds 5      # and CPU seconds

Sentences made for this are changed in one place at a time: a vowel sign, a tone mark, a character,
a digit, a word, an operator. None of these pairs says the same, so each that is dropped is a false
drop. Copies of each sentence, with other spaces, case, punctuation, composition or width, say the
same: each that is not found is a miss. Documents are compared as ``filter`` compares a candidate
with a positive (``same_text``, ``near_duplicate``), queries as ``duplicate_query`` does. In a
passage of all sentences one change is a near-duplicate by design; the share is told for comparison.

``--english`` takes a folder in BEIR's layout: both revisions index it and filter the same
candidates in turns, and CPU seconds are compared.
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import _bench

ROOT = Path(__file__).resolve().parent.parent
NEAR, DUPLICATE = 0.8, 0.9
#: At most so many changes of a kind in a sentence.
MOST = 12

SENTENCES: dict[str, list[str]] = {
    "English": [
        "Rome is the capital of Italy.",
        "The cat didn't eat the fish.",
        "What is the capital of Spain?",
        "Mount Fuji is 3776 metres high.",
        "Take this medicine three times a day, after meals.",
        "Water boils at 100 degrees.",
        "India has 28 states and 8 union territories.",
        "The well-known bridge near the old mill was closed yesterday.",
    ],
    "Hindi": [
        "रोम इटली की राजधानी है।",
        "राम कल सुबह दिल्ली से आया था।",
        "बच्चों ने मेले में मीठी जलेबी खाई।",
        "भारत में 28 राज्य और 8 केंद्र शासित प्रदेश हैं।",
        "गंगा नदी हिमालय से निकलकर बंगाल की खाड़ी में गिरती है।",
        "मिल के पास एक पुराना पुल है।",
        "हिन्दी और उर्दू की लिपियाँ अलग हैं।",
        "पानी 100 डिग्री पर उबलता है।",
    ],
    "Telugu": [
        "తెలుగు భాష ఎప్పుడు పుట్టింది?",
        "హైదరాబాద్ తెలంగాణ రాజధాని.",
        "రాముడు అడవికి వెళ్ళాడు.",
        "గోదావరి నది పొడవు 1465 కిలోమీటర్లు.",
        "పిల్లలు బడిలో పాటలు పాడుతున్నారు.",
        "మామిడి పండు తియ్యగా ఉంటుంది.",
        "ఈ పుస్తకం ఎవరు రాశారు?",
        "వర్షాకాలంలో చెరువులు నిండుతాయి.",
    ],
    "Thai": [
        "ข้าวเป็นอาหารหลักของคนไทย",
        "ข่าวเมื่อเช้านี้น่าตกใจมาก",
        "แม่น้ำเจ้าพระยาไหลผ่านกรุงเทพ",
        "ประเทศไทยมี 77 จังหวัด",
        "เสื้อสีขาวราคาเท่าไร",
        "ม้าของลุงวิ่งเร็วกว่าหมา",
        "เขาใกล้บ้านไม่ไกลตลาด",
        "ฝนตกหนักทั่วภาคใต้ในเดือนพฤศจิกายน",
    ],
    "Chinese": [
        "北京是中国的首都。",
        "我在2019年买了一本Python书。",
        "长江是亚洲最长的河流，全长6300公里。",
        "他昨天没有去学校。",
        "这种药每天吃三次，饭后服用。",
        "水在100摄氏度沸腾。",
        "上海的人口比广州多。",
        "猫不喜欢吃青菜",
    ],
    "Japanese": [
        "東京は日本の首都です。",
        "昨日、駅前でラーメンを食べました。",
        "富士山の高さは3776メートルです。",
        "この薬は食後に飲んでください。",
        "彼は学校へ行かなかった。",
        "ハチは花に集まる",
        "カキは冬においしい果物です。",
        "パソコンの電源が入りません。",
    ],
    "Korean": [
        "서울은 대한민국의 수도이다.",
        "어제 친구와 냉면을 먹었다.",
        "한라산의 높이는 1947미터이다.",
        "이 약은 식후에 드세요.",
        "그는 학교에 가지 않았다.",
        "말이 빠르게 달린다",
        "물은 100도에서 끓는다.",
        "부산의 인구는 대구보다 많다.",
    ],
    "code": [
        "def f(a, b): return a + b",
        "if (x == y) { count += 1; }",
        "for (i = 0; i < n; i++) total = total * a[i];",
        "SELECT name FROM users WHERE age >= 18",
        "C++",
        "x = (a + b) * c - d / 2",
        "while not done and tries < 3: done = retry(url)",
        "std::vector<int> v(10, -1);",
        "let mask = flags & 0xFF | bits << 4",
    ],
    "formulas": [
        "E = mc²",
        "a² + b² = c²",
        "x = (-b ± √(b² − 4ac)) / 2a",
        "∑ᵢ xᵢ ≤ n",
        "f(x) = 3x³ − 2x + 5",
        "A ∪ B ⊆ C",
        "2 H₂ + O₂ → 2 H₂O",
        "P(A|B) = P(B|A) · P(A) / P(B)",
        "∫ sin(x) dx = −cos(x) + C",
    ],
}
MARKS = {
    "Hindi": "ािीुूेैोौंः",
    "Telugu": "ాిీుూెేైొోౌం",
    "Thai": "่้๊๋ิีึืุูั",
}
OPERATORS = {
    "code": ["+", "-", "*", "/", "<", ">", "<=", ">=", "==", "!=", "&", "|", "++", "--"],
    "formulas": [
        "+",
        "−",
        "±",
        "=",
        "≤",
        "≥",
        "<",
        "∪",
        "∩",
        "⊆",
        "⊂",
        "→",
        "²",
        "³",
        "∑",
        "∏",
        "√",
    ],
}
#: Longest first; what is told apart by place or as punctuation is no operator here.
_TOKENS = {
    "code": re.compile(r"\+\+|--|<=|>=|==|!=|<<|\+=|[-+*/<>&|]"),
    "formulas": re.compile("[+−±=≤≥<∪∩⊆⊂→²³∑∏√]"),
}


# --- pairs ----------------------------------------------------------------------------------------


def changed(kind: str, text: str, draw: random.Random) -> Iterator[tuple[str, str]]:
    """(what was changed, the text with one change)."""
    others = [char for one in SENTENCES[kind] for char in one]
    ways: dict[str, list[str]] = {"mark": [], "character": [], "digit": [], "word": []}
    for at, char in enumerate(text):
        if char in MARKS.get(kind, ""):
            for mark in draw.sample([m for m in MARKS[kind] if m != char], 2):
                ways["mark"].append(text[:at] + mark + text[at + 1 :])
            ways["mark"].append(text[:at] + text[at + 1 :])
        elif char.isdigit() and char.isascii():
            digit = draw.choice([d for d in "0123456789" if d != char])
            ways["digit"].append(text[:at] + digit + text[at + 1 :])
        elif unicodedata.category(char).startswith("L"):
            alike = [o for o in others if _alike(o, char)]
            if alike:
                ways["character"].append(text[:at] + draw.choice(alike) + text[at + 1 :])
    words = text.split(" ")
    if len(words) > 2 and kind not in OPERATORS:
        for at in range(len(words)):
            some = draw.choice(draw.choice(SENTENCES[kind]).split(" "))
            if some not in words:
                ways["word"].append(" ".join([*words[:at], some, *words[at + 1 :]]))
    if kind in OPERATORS:
        ways["operator"] = [
            text[: found.start()] + operator + text[found.end() :]
            for found in _TOKENS[kind].finditer(text)
            for operator in OPERATORS[kind]
            if operator != found[0]
        ]
    for what, made in ways.items():
        for one in draw.sample(made, min(MOST, len(made))):
            yield what, one


def _alike(other: str, char: str) -> bool:
    """Another letter of the same script; case is no difference."""
    if not unicodedata.category(other).startswith("L") or other.lower() == char.lower():
        return False
    return unicodedata.name(other).split()[0] == unicodedata.name(char).split()[0]


def copies(kind: str, text: str) -> Iterator[tuple[str, str]]:
    """(what was changed, a text that says the same)."""
    unspaced = kind in ("Thai", "Chinese", "Japanese")
    middle = len(text) // 2
    while unspaced and unicodedata.category(text[middle])[0] == "M":
        middle += 1
    yield "spacing", f"  {text[:middle]} {text[middle:]}" if unspaced else text.replace(" ", "  \n")
    if kind == "code":
        yield "spacing", re.sub(r" ?([-+*/<>=&|]+) ?", r"\1", text)
        yield "spacing", re.sub(r"([-+*/<>=&|]+)", r" \1 ", text)
    if text.upper() != text and kind != "formulas":
        yield "case", text.upper()
    yield "punctuation", f"“{text.rstrip('.。।?;')}”"
    if kind not in OPERATORS:
        yield "punctuation", re.sub("[,，、]", "", text) + "!"
    for form in ("NFC", "NFD"):
        if unicodedata.normalize(form, text) != text:
            yield form, unicodedata.normalize(form, text)
    wide = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)
    if wide != text:
        yield "full width", wide
    if kind == "Japanese":
        narrow = _half_width(text)
        if narrow != text:
            yield "half width", narrow


def _half_width(text: str) -> str:
    halves = {unicodedata.normalize("NFKC", chr(c)): chr(c) for c in range(0xFF66, 0xFFA0)}
    decomposed = unicodedata.normalize("NFD", text)
    made = "".join(halves.get(c, c) for c in decomposed)
    return made.replace("\u3099", "ﾞ").replace("\u309a", "ﾟ") if made != decomposed else text


def pairs(kind: str) -> Iterator[tuple[str, str, str, str]]:
    """(``apart``, ``same`` or ``passage``, what was changed, both texts)."""
    draw = random.Random(f"{kind} 1")
    for text in SENTENCES[kind]:
        for what, other in changed(kind, text, draw):
            yield "apart", what, text, other
        for what, other in copies(kind, text):
            yield "same", what, text, other
    join = "" if kind in ("Thai", "Chinese", "Japanese") else " "
    for at, text in enumerate(SENTENCES[kind]):
        whole = SENTENCES[kind] * 2
        for what, other in list(changed(kind, text, draw))[:4]:
            put = [*whole[:at], other, *whole[at + 1 :]]
            yield "passage", what, join.join(whole), join.join(put)


# --- what the guard says --------------------------------------------------------------------------


def rates() -> dict[str, dict[str, list[int]]]:
    """By kind of text and of pair: [pairs, same_text, near_duplicate alone, duplicate_query]."""
    import numpy as np
    import pyarrow as pa

    try:
        minhash = importlib.import_module("negmine.dedup.minhash")
    except ImportError:  # revisions of before
        minhash = importlib.import_module("negmine.identity")

    found: dict[str, dict[str, list[int]]] = {}
    for kind in SENTENCES:
        rows = list(pairs(kind))
        texts = pa.array([text for row in rows for text in row[2:]])
        made = minhash.describe(texts)
        left, right = np.arange(0, len(texts), 2), np.arange(1, len(texts), 2)
        told = (made.size[left] > 0) & (made.size[right] > 0)
        same = told & (made.content[left] == made.content[right])
        near = told & (minhash.similarity(made.signature, left, right) >= NEAR) & ~same
        for row, one, other in zip(rows, same, near, strict=True):
            asked = minhash.clusters(*minhash.signatures(pa.array(row[2:])), DUPLICATE)
            counts = found.setdefault(kind, {}).setdefault(f"{row[0]} {row[1]}", [0, 0, 0, 0])
            for place, hit in enumerate((True, one, other, asked[0] >= 0)):
                counts[place] += int(hit)
    return found


def rows_of(found: dict[str, dict[str, list[int]]]) -> Iterator[list[str]]:
    """A line of the table for each kind of text."""
    for kind, by_pair in found.items():
        apart, same, passage = (
            [sum(column) for column in zip(*some, strict=True)]
            for some in (
                [counts for what, counts in by_pair.items() if what.startswith(group)]
                for group in ("apart", "same", "passage")
            )
        )
        yield [
            kind,
            str(apart[0]),
            _share(apart[1], apart[0]),
            _share(apart[2], apart[0]),
            _share(apart[3], apart[0]),
            str(same[0]),
            _share(same[0] - same[1] - same[2], same[0]),
            _share(same[0] - same[3], same[0]),
            _share(passage[1] + passage[2], passage[0]),
        ]


def _share(part: int, whole: int) -> str:
    return f"{part / max(1, whole):.1%}"


HEAD = (
    "",
    "pairs",
    "same_text",
    "near_duplicate",
    "duplicate_query",
    "copies",
    "missed, documents",
    "missed, queries",
    "in a passage",
)


def details(found: dict[str, dict[str, list[int]]]) -> Iterator[str]:
    """What was wrong, by the change."""
    for kind, by_pair in found.items():
        for what, (count, same, near, asked) in by_pair.items():
            hits = same + near
            if what.startswith("apart") and hits + asked:
                yield f"{kind}, {what}: {hits} documents and {asked} queries of {count} dropped"
            if what.startswith("same") and min(hits, asked) < count:
                yield (
                    f"{kind}, {what}: {count - hits} documents and {count - asked} queries of "
                    f"{count} missed"
                )


# --- another revision -----------------------------------------------------------------------------


@contextmanager
def checked_out(revision: str) -> Iterator[Path]:
    """A folder with another revision."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "-q", "--detach", str(tree), revision], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def run(tree: Path, *arguments: str) -> _bench.Ran:
    """Python with that revision's package."""
    return _bench.whole(["env", "-C", str(tree), f"PYTHONPATH={tree}", sys.executable, *arguments])


def make_data(folder: Path, english: Path, queries: int, k: int) -> None:
    """The collection, and candidates drawn at random: whoever finds them, the guard is the same."""
    asked, words = _bench.queries(english, queries)
    draw = random.Random(1)
    ids = []
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as out:
        for row in _bench.records(english / "corpus.jsonl"):
            ids.append(row["_id"])
            out.write(
                json.dumps({key: row.get(key, "") for key in ("_id", "title", "text")}) + "\n"
            )
    with (folder / "queries.jsonl").open("w", encoding="utf-8") as out:
        for qid, text in zip(asked, words, strict=True):
            out.write(json.dumps({"_id": f"q{qid}", "text": text}) + "\n")
    with (folder / "run.trec").open("w") as run, (folder / "qrels.txt").open("w") as qrels:
        for qid in asked:
            some = draw.sample(ids, min(k, len(ids)))
            qrels.write(f"q{qid} 0 {some[0]} 1\n")
            run.writelines(f"q{qid} Q0 {d} {n} {k - n} x\n" for n, d in enumerate(some, 1))


#: What makes a result anew: earlier revisions have no --rebuild.
ANEW = {"this": "--rebuild", "that": "--force"}
OLD_RULES = ("--no-repeated-texts", "--no-empty-texts", "--own-document", "off")


def timed(trees: dict[str, Path], data: Path, rounds: int) -> dict[str, dict[str, list[float]]]:
    """CPU seconds of each command by revision, in turns."""
    inputs = ["--queries", str(data / "queries.jsonl"), "--qrels", str(data / "qrels.txt")]
    found: dict[str, dict[str, list[float]]] = {}

    def note(name: str, side: str, *command: str) -> None:
        ran = run(trees[side], "-m", "negmine", *command, ANEW[side], "-q")
        found.setdefault(name, {}).setdefault(side, []).append(ran.cpu_seconds)

    for _ in range(rounds):
        for side in trees:
            work = data / side
            index = ["index", "--corpus", str(data / "corpus.jsonl"), "--no-bm25"]
            note("index", side, *index, "-o", str(work / "index"))
            retrieve = ["retrieve", str(work / "index"), *inputs, "--run", f"x={data / 'run.trec'}"]
            out = ["-o", str(work / "candidates"), ANEW[side], "-q"]
            run(trees[side], "-m", "negmine", *retrieve, *out)
            ledger = ["filter", str(work / "candidates"), "-o", str(work / "ledger")]
            note("filter", side, *ledger)
            same = OLD_RULES if side == "this" else ()
            note("filter, rules of both", side, *ledger, *same)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--against", metavar="REV", help="compare with this revision")
    parser.add_argument("--english", type=Path, help="a folder in BEIR's layout to take time on")
    parser.add_argument("--queries", type=int, default=1000, help="queries of it, at most")
    parser.add_argument("-k", type=int, default=100, help="candidates of a query")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--details", action="store_true", help="tell which changes went wrong")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        _bench.tell(rates=rates())
        return
    here = rates()
    print(_bench.table(HEAD, rows_of(here)))
    if options.details:
        print("\n".join(details(here)))
    if options.against is None:
        return
    with checked_out(options.against) as tree, tempfile.TemporaryDirectory() as folder:
        told: dict[str, Any] = json.loads(run(tree, __file__, "--worker").output.splitlines()[-1])
        print(f"\n{options.against}:\n")
        print(_bench.table(HEAD, rows_of(told["rates"])))
        if options.english is not None:
            make_data(Path(folder), options.english, options.queries, options.k)
            trees = {"that": tree, "this": ROOT}
            print(f"\nCPU seconds, {options.rounds} rounds in turns; {_bench.machine('rensa')}\n")
            lines = []
            for name, sides in timed(trees, Path(folder), options.rounds).items():
                that, this = (statistics.median(sides[side]) for side in ("that", "this"))
                spread = [f"{min(sides[s]):.2f} to {max(sides[s]):.2f}" for s in ("that", "this")]
                lines.append(
                    [
                        name,
                        f"{that:.2f} ({spread[0]})",
                        f"{this:.2f} ({spread[1]})",
                        f"{this / that:.2f}",
                    ]
                )
            print(_bench.table(("", options.against, "this", "this / that"), lines))


if __name__ == "__main__":
    main()
