"""Kill a judge's run again and again: nothing that the server answered may be asked again.

    python scripts/kill_judge.py OUT --pairs 2000 --kills 20 --report killed.json

The candidates are verses (``make_verses.py``) with the share of the query's words that each has: of
these the cascade ``--only-if`` lets some through to a judge behind a server of the tests' own
(``tests/servers/chat.py``), which writes a journal of what it was asked and what it answered. A
run of ``rerank`` is killed with SIGKILL each time when the server has given so many more answers;
the last one comes to its end. Then

* the journal says which requests came again after they had been answered: at each kill no more than
  were under way, and only the last that had been answered before it;
* every request of an undisturbed run was answered, and no other was asked;
* every part, and the manifest without its section ``run``, has the bytes of an undisturbed run;
* the command says that all is up to date, and asks nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.servers.chat import MODEL, process  # noqa: E402
from tests.servers.journal import Entry, asked_again, read  # noqa: E402

#: Calls that the client has under way at most.
CONCURRENCY = 4
#: Seconds that an answer takes: some are under way at each kill.
LATENCY = 0.02
#: No run takes longer.
PATIENCE = 600


@dataclass(frozen=True)
class Table:
    """What is judged.

    Attributes:
        data: a collection in BEIR's layout.
        candidates: the table.
        pairs: its rows.
    """

    data: Path
    candidates: Path
    pairs: int


def main() -> int:
    """Parse, kill, check, report; 0 when nothing was lost or asked again."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="scratch folder, must not be there")
    parser.add_argument("--pairs", type=int, default=2000, help="how many, about")
    parser.add_argument("--depth", type=int, default=50, help="candidates of a query")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report", type=Path, help="JSON")
    given = parser.parse_args()
    table = make_table(given.out, given.pairs, given.depth)
    found = killed(table, given.out, given.kills, random.Random(given.seed))
    told = json.dumps(found, indent=2) + "\n"
    if given.report is not None:
        given.report.write_text(told)
    print(told, end="")
    return 1 if found["wrong"] else 0


def make_table(out: Path, pairs: int, depth: int) -> Table:
    """Verses, and for each query those that share most words with it, in a run."""
    data = out / "data"
    queries = max(2, round(pairs / depth))
    script = [sys.executable, str(ROOT / "scripts" / "make_verses.py"), str(data)]
    sizes = ["--verses", str(queries), "--corpus-verses", str(max(40, queries * 5))]
    subprocess.run([*script, *sizes], check=True, stdout=subprocess.DEVNULL)
    _write_run(data, out / "words.trec", depth)
    _must("index", "--corpus", data, "--no-bm25", "-o", out / "index")
    _must(
        *("retrieve", out / "index", "--queries", data, "--qrels", data / "qrels.revealed.tsv"),
        *("--run", f"words={out / 'words.trec'}", "-k", depth, "-o", out / "candidates"),
    )
    manifest = json.loads((out / "candidates" / "_manifest.json").read_text())
    return Table(data, out / "candidates", manifest["counts"]["candidates"])


def _write_run(data: Path, path: Path, depth: int) -> None:
    """Documents by the share of the query's words that they have, as a TREC run."""
    corpus = [
        (row["_id"], set(row["text"].lower().split())) for row in _rows(data / "corpus.jsonl")
    ]
    lines: list[str] = []
    for query in _rows(data / "queries.jsonl"):
        words = set(query["text"].lower().split())
        shares = {docid: len(words & found) / len(words) for docid, found in corpus}
        best = sorted(shares.items(), key=lambda item: (-item[1], item[0]))[:depth]
        lines += [
            f"{query['_id']} Q0 {docid} {rank} {share:.4f} words"
            for rank, (docid, share) in enumerate(best, 1)
        ]
    path.write_text("\n".join(lines) + "\n")


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def killed(table: Table, out: Path, kills: int, rng: random.Random) -> dict[str, Any]:
    """Run undisturbed, run killed, and what is wrong with the second."""
    settings = ("--folder", table.data, "--settings", json.dumps({"latency": LATENCY}))
    journals = {name: out / f"{name}.jsonl" for name in ("undisturbed", "killed")}
    with process(*settings, "--journal", journals["undisturbed"]) as (_, url):
        _must(*command(table, url, out / "undisturbed"))
    port = url.rsplit(":", 1)[1].split("/")[0]
    needed = {entry.key for entry in read(journals["undisturbed"])}
    with process(*settings, "--port", port, "--journal", journals["killed"]) as (_, same):
        words = command(table, same, out / "killed")
        moments = _kills(words, journals["killed"], len(needed), kills, rng)
        _must(*words)
        entries = read(journals["killed"])
        _must(*words)
        later = read(journals["killed"])[len(entries) :]
    wrong = [*_asked_wrongly(entries, needed, moments), *_differing(out)]
    if any(entry.event == "asked" for entry in later):
        wrong.append("a command that was up to date asked something")
    again = asked_again(entries)
    return {
        "pairs": table.pairs,
        "judged": _scored(out / "killed" / "scored"),
        "requests": len(needed),
        "kills": len(moments),
        "asked": sum(entry.event == "asked" for entry in entries),
        "asked_again": len(again),
        "cut_off": sum(entry.event == "gone" for entry in entries),
        "most_asked_again_at_a_kill": max((_after(again, moments).values()), default=0),
        "wrong": wrong,
    }


def command(table: Table, url: str, work: Path) -> tuple[object, ...]:
    """The cascade: the judge reads what has some of the query's words."""
    return (
        *("rerank", table.candidates, "--scorer", f"judge=llm:{MODEL}@{url}"),
        *("--only-if", "words > 0.15", "--concurrency", CONCURRENCY, "-o", work / "scored"),
    )


def _kills(
    words: tuple[object, ...], journal: Path, needed: int, kills: int, rng: random.Random
) -> list[float]:
    """Kill the command so many times while answers are still missing; when that was."""
    moments: list[float] = []
    step = needed / (kills + 1)
    for number in range(1, kills + 1):
        wanted = (number - 1 + rng.uniform(0.2, 1.0)) * step
        run = _started(words)
        until = time.monotonic() + PATIENCE
        while _answered(journal) < wanted and run.poll() is None and time.monotonic() < until:
            time.sleep(0.005)
        if run.poll() is not None:
            break
        moments.append(time.time())
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        # What was under way is told by the server only when it would have answered.
        time.sleep(5 * LATENCY)
    return moments


def _answered(journal: Path) -> int:
    return journal.read_bytes().count(b'"answered"') if journal.is_file() else 0


def _asked_wrongly(entries: Sequence[Entry], needed: set[str], moments: list[float]) -> list[str]:
    """What the journal says against the run."""
    wrong: list[str] = []
    asked = {entry.key for entry in entries if entry.event == "asked"}
    answered = {entry.key for entry in entries if entry.event == "answered"}
    if asked != needed:
        wrong.append(
            f"{len(asked - needed)} requests of no undisturbed run, {len(needed - asked)} missing"
        )
    if answered != needed:
        wrong.append(f"{len(needed - answered)} requests were never answered")
    again = asked_again(entries)
    for told, repeated in again:
        kill = next((at for at in moments if told.when - 1 <= at <= repeated.when), None)
        if kill is None:
            wrong.append(f"request {repeated.number} was answered ({told.number}), no kill between")
            continue
        since = sum(
            entry.event == "answered" and told.when < entry.when < kill for entry in entries
        )
        if since >= CONCURRENCY:
            wrong.append(
                f"request {repeated.number}: {since} answers came between its own and the kill"
            )
    wrong += [
        f"{count} requests came again after the kill at {moment}"
        for moment, count in _after(again, moments).items()
        if count > CONCURRENCY
    ]
    return wrong


def _after(again: Sequence[tuple[Entry, Entry]], moments: list[float]) -> dict[float, int]:
    """How many requests came again after each kill and before the next one."""
    found: dict[float, int] = {}
    for _, repeated in again:
        moment = max((at for at in moments if at <= repeated.when), default=0.0)
        found[moment] = found.get(moment, 0) + 1
    return found


def _differing(out: Path) -> list[str]:
    """Files that are not those of the undisturbed run."""
    both = [out / name / "scored" for name in ("undisturbed", "killed")]
    names = [sorted(path.name for path in folder.glob("part-*")) for folder in both]
    if names[0] != names[1] or not names[0]:
        return [f"parts {names[1]}, and {names[0]} of the undisturbed run"]
    wrong = [
        f"{name} differs"
        for name in names[0]
        if (both[0] / name).read_bytes() != (both[1] / name).read_bytes()
    ]
    manifests = [json.loads((folder / "_manifest.json").read_text()) for folder in both]
    if manifests[0]["fingerprint"] != manifests[1]["fingerprint"]:
        wrong.append("another fingerprint")
    for manifest in manifests:
        manifest.pop("run")
    wrong += [
        f"the manifests differ in '{key}'"
        for key in sorted(manifests[0].keys() | manifests[1].keys())
        if manifests[0].get(key) != manifests[1].get(key)
    ]
    return wrong


def _scored(folder: Path) -> int:
    """Pairs that the condition let through."""
    manifest = json.loads((folder / "_manifest.json").read_text())
    return int(manifest["counts"]["scored"])


def _started(words: tuple[object, ...]) -> subprocess.Popen[bytes]:
    """negmine in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "negmine", *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _must(*words: object) -> None:
    """Run negmine to its end."""
    ended = subprocess.run(
        [sys.executable, "-m", "negmine", *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    if ended.returncode:
        raise SystemExit(f"negmine {' '.join(map(str, words))}:\n{ended.stdout}{ended.stderr}")


if __name__ == "__main__":
    raise SystemExit(main())
