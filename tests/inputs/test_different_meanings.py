"""Texts that differ in little: what means something else stays, what is a copy is dropped.

Through the command line with default flags: every pair is a positive and the one candidate of a
query.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pyarrow.parquet as pq

from tests.training_sets import command, lines

DIFFERENT = [
    ("Das ist erlaubt.", "Das ist nicht erlaubt."),
    ("ספר טוב", "ספר לא טוב"),
    ("כָּתַב", "כָּתֵב"),
    ("هذا الدواء آمن", "هذا الدواء غير آمن"),
    ("عِلْم", "عَلَم"),
    ("Bạn là ma", "Bạn là mạ"),
    ("Das sind große Maße", "Das sind große Masse"),
    ("sıkıldım", "sikildim"),
    ("이 약은 안전하다", "이 약은 안전하지 않다"),
    ("这个药是安全的", "这个药是不安全的"),
    ("これは安全です", "これは安全ではありません"),
    ("ยานี้ปลอดภัย", "ยานี้ไม่ปลอดภัย"),
    ("यह दवा सुरक्षित है", "यह दवा सुरक्षित नहीं है"),
    ("👍", "👎"),
    ("👩‍⚕️ at work", "👨‍⚕️ at work"),
    ("1. e4 e5 2. Nf3 Nc6 3. Bb5", "1. e4 e5 2. Nf3 Nf6 3. Bb5"),
    ("O-O", "O-O-O"),
    ("H2O", "H2O2"),
    ("Fe²⁺", "Fe³⁺"),
    ("SELECT a FROM t WHERE a > 18", "SELECT a FROM t WHERE a < 18"),
    ("^[a-z]+$", "^[^a-z]+$"),
    ("pip install numpy==1.26.4", "pip install numpy==1.24.6"),
    ("1.5 m/s", "15 m/s"),
    ("x = 1.5 * y", "x = 15 * y"),
    ("12.5%", "125%"),
    ("It was signed on 2020-01-02.", "It was signed on 2020-02-01."),
    ("The vaccine is safe for children.", "The vaccine is not safe for children."),
    ("-5 degrees", "5 degrees"),
    ("yes", "no"),
]
SAME = [
    ("한국어 문장입니다", unicodedata.normalize("NFD", "한국어 문장입니다")),
    ("Tiếng Việt", unicodedata.normalize("NFD", "Tiếng Việt")),
    ("שָׁלוֹם", unicodedata.normalize("NFD", "שָׁלוֹם")),
    ("كتـــاب", "كتاب"),
    ("for (i=0;i<n;i++)", "for (i = 0; i < n; i++)"),
    ("“Hello”, world", '"Hello" world.'),
]


def test_little_differences(tmp_path: Path) -> None:
    pairs = [*DIFFERENT, *SAME]
    docs = [
        {"docid": f"{side}{n}", "text": text}
        for n, pair in enumerate(pairs)
        for side, text in zip("pc", pair, strict=True)
    ]
    numbers = range(len(pairs))
    corpus = lines(tmp_path / "corpus.jsonl", docs)
    queries = lines(
        tmp_path / "queries.jsonl", [{"qid": f"q{n}", "text": f"ask{n}"} for n in numbers]
    )
    qrels, run = tmp_path / "qrels.tsv", tmp_path / "run.tsv"
    qrels.write_text("qid\tdocid\tgrade\n" + "".join(f"q{n}\tp{n}\t1\n" for n in numbers))
    run.write_text("".join(f"q{n}\tc{n}\t1\n" for n in numbers))
    inputs = ("--queries", queries, "--qrels", qrels, "--run", f"r={run}")
    for arguments in (
        ("index", "--corpus", corpus, "--no-bm25", "-o", tmp_path / "index"),
        ("retrieve", tmp_path / "index", *inputs, "-o", tmp_path / "candidates"),
        ("filter", tmp_path / "candidates", "-o", tmp_path / "ledger"),
    ):
        result = command(*arguments)
        assert result.exit_code == 0, result.output
    rows = pq.read_table(tmp_path / "ledger" / "part-00000.parquet").to_pylist()
    dropped = {row["docid"]: row["dropped_by"] for row in rows if row["docid"][0] == "c"}
    fates = {pair: dropped[f"c{n}"] for n, pair in enumerate(pairs)}
    assert {pair: fates[pair] for pair in DIFFERENT} == dict.fromkeys(DIFFERENT)
    assert {pair: fates[pair] for pair in SAME} == dict.fromkeys(SAME, "same_text")
