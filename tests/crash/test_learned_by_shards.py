"""What ``filter`` learns of the whole table, shards learn together: the bytes of one process."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from negmine import log
from negmine.learning import stored
from negmine.table.artifacts import open_artifact
from negmine.table.artifacts.reading import Artifact
from negmine.table.artifacts.shards import Shelf
from tests.chains import SMALL_PARTS, WORDS, add_columns, call, small_parts
from tests.conftest import ROOT, write_jsonl
from tests.crash.sharded import COUNT, Here, contents, copied

LEDGER = Path("work/ledger")
TABLE = Path("work/candidates")
QUERIES, DOCUMENTS = 60, 150

#: Settings that learn, each in its own way; by default what equal ids mean, and which queries are
#: nearly the same.
SETTINGS: dict[str, tuple[str, ...]] = {
    "default": (),
    "score": ("--max-fn-rate", "0.2", "--fn-form", "score"),
    "margin": ("--max-fn-rate", "0.2", "--fn-form", "margin"),
    "auto": ("--max-fn-rate", "0.3", "--no-duplicate-queries"),
    "groups": ("--max-fn-rate", "0.5", "--calibrate-by", "meta_topic"),
    "bias": ("--max-fn-rate", "0.5", "--bias-from", "bm25"),
    "percentile": ("--percentile", "0.5", "--difficulty"),
    "p_relevant": ("--by", "p_relevant", "--max-fn-rate", "0.3"),
    "likeness": ("--by", "p_relevant", "--similar-to-positives", "--max-score", "0.5"),
    "p_prior": ("--by", "p_prior", "--weight", "p-relevant", "--max-score", "0.5"),
    "sample": ("--by", "p_prior", "--fit-sample", "20", "--percentile", "0.5"),
    "reuse": ("--max-reuse", "2"),
    "quota": ("--quota", "kind:image=1", "--quota", "bm25=2", "--max-reuse", "3"),
    "all": (
        *("--by", "p_relevant", "--similar-to-positives", "--max-fn-rate", "0.3"),
        *("--fit-sample", "50", "--max-reuse", "2", "--difficulty"),
    ),
}
#: In which rounds each learns, beside what it asks of the queries.
ROUNDS = {
    **dict.fromkeys(("score", "margin", "groups", "bias", "percentile"), "limits"),
    "auto": "limits form",
    "p_relevant": "scores limits form",
    **dict.fromkeys(("likeness", "p_prior"), "scores"),
    "sample": "sample scores limits",
    **dict.fromkeys(("reuse", "quota"), "survivors"),
    "all": "sample scores limits form survivors",
}


def make_data(folder: Path) -> Path:
    """Queries of words of two positives; one in six is asked twice, one has a document's id."""
    rng = random.Random(7)
    corpus = [
        {"_id": f"d{n}", "title": "", "text": " ".join(rng.choices(WORDS, k=12))}
        for n in range(DOCUMENTS)
    ]
    queries, judged = [], []
    for n in range(QUERIES):
        if n % 6 == 5:
            text, known = queries[-1]["text"] + ".", judged[-1][1]
        else:
            known = rng.sample(range(DOCUMENTS), 2)
            words = [rng.choice(corpus[d]["text"].split()) for d in known for _ in range(3)]
            text = " ".join(words)
        queries.append({"_id": f"q{n}" if n else "d7", "text": text})
        judged.append((queries[-1]["_id"], known, rng.randrange(DOCUMENTS)))
    folder.mkdir(parents=True)
    write_jsonl(folder / "corpus.jsonl", corpus)
    write_jsonl(folder / "queries.jsonl", queries)
    lines = ["query-id\tcorpus-id\tscore"]
    lines += [f"{q}\td{d}\t1" for q, known, _ in judged for d in known]
    lines += [f"{q}\td{d}\t0" for q, known, d in judged if d not in known]
    (folder / "qrels.tsv").write_text("\n".join(lines) + "\n")
    add_columns(folder)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Candidates of several parts."""
    folder = make_data(tmp_path_factory.mktemp("whole") / "data")
    keep = ("--keep", "topic", "--keep", "kind")
    with pytest.MonkeyPatch.context() as patch, small_parts():
        patch.chdir(folder)
        asked = ("--queries", "queries.jsonl", "--qrels", "qrels.tsv", "-k", "10")
        for words in (
            ("index", "--corpus", "corpus.jsonl", *keep, "-o", "work/index"),
            ("retrieve", "work/index", *asked, "-o", TABLE),
        ):
            code, said = call(*words)
            assert code == 0, said
    return folder


def command(name: str, out: Path = LEDGER) -> tuple[str, ...]:
    number = () if "--quota" in SETTINGS[name] else ("--num-negatives", "3")
    return ("filter", str(TABLE), *number, *SETTINGS[name], "-o", str(out))


class Heard:
    """What the process that runs tells, by whom, and which parts of the table it reads."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.told: dict[str, list[str]] = {}
        self.read: dict[str, Counter[str]] = {}
        #: What comes before a shard tells something, by the shard and the how manieth thing it is.
        self.before: dict[tuple[str, int], Callable[[], object]] = {}
        tell, read = Shelf.tell, Artifact.read
        self._who: list[str] = []

        def telling(shelf: Shelf, name: str, what: Mapping[str, Any]) -> Mapping[str, Any]:
            mine = self.told[str(shelf._share)]
            self.before.pop((str(shelf._share), len(mine)), bool)()
            mine.append(name.removeprefix(f"{stored.FORMAT}."))
            return tell(shelf, name, what)

        def reading(artifact: Artifact, name: str, columns: list[str] | None = None) -> Any:
            # Whether a column has any score is asked before all else, of as few parts as tell it.
            scores = columns is not None and all(one.startswith("score_") for one in columns)
            if self._who and artifact.path.name == TABLE.name and not scores:
                self.read[self._who[-1]][name.removeprefix("_queries/")] += 1
            return read(artifact, name, columns)

        patch.setattr(Shelf, "tell", telling)
        patch.setattr(Artifact, "read", reading)

    def shard(self, name: str, index: int) -> int:
        """Exit code of a shard of these settings, in the current folder."""
        who = f"{index}/{COUNT}"
        self.told[who], self.read[who] = [], Counter()
        self._who.append(who)
        handlers = list(log.logger.handlers)
        code, said = call(*command(name), "--shard", who)
        log.logger.handlers[:] = handlers
        assert code in (0, 130), said
        assert self._who.pop() == who
        return code


def collected(here: Here, folder: Path, name: str) -> None:
    """What is there is collected, and is what one process makes of the same table."""
    here.done("collect", LEDGER, cwd=folder)
    here.done(*command(name, LEDGER.with_name("alone")), cwd=folder)
    assert contents(folder / LEDGER) == contents(folder / "work" / "alone")
    assert not list((folder / LEDGER).rglob("_shards"))


@pytest.mark.parametrize("name", SETTINGS)
def test_the_first_shard_learns_for_all(
    here: Here, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = copied(data, tmp_path / "data")
    parts = open_artifact(folder / TABLE).parts
    order = random.Random(name).sample(range(COUNT), COUNT)
    with monkeypatch.context() as patch, small_parts():
        patch.chdir(folder)
        heard = Heard(patch)
        assert [heard.shard(name, index) for index in order] == [0] * COUNT
    first, *others = (f"{index}/{COUNT}" for index in order)
    # A summary of each part in each round, and what came of it.
    rounds = {one.rpartition(".part-")[0] for one in heard.told[first]} - {""}
    assert rounds == {"queries", *ROUNDS.get(name, "").split()}
    said = [one for one in heard.told[first] if ".part-" not in one]
    assert "learned" in said
    assert len(parts) > 3 * COUNT
    expected = [f"{one}.{part}" for one in rounds for part in parts]
    assert Counter(heard.told[first]) == Counter([*expected, *said])
    for who in others:
        # Nothing is told twice, and nothing read but what is judged.
        assert heard.told[who] == []
        index = int(who.partition("/")[0])
        assert sorted(heard.read[who]) == parts[index::COUNT]
    collected(here, folder, name)


@pytest.mark.parametrize("name", SETTINGS)
def test_shards_at_once_one_of_them_killed_while_it_learns(
    here: Here, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = copied(data, tmp_path / "data")
    parts = open_artifact(folder / TABLE).parts
    rng = random.Random(name)
    killed, early, late = rng.sample(range(COUNT), COUNT)

    def kill() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, small_parts():
        patch.chdir(folder)
        heard = Heard(patch)
        rounds = 1 + len(ROUNDS.get(name, "").split())
        heard.before[f"{killed}/{COUNT}", rng.randrange(1, rounds * len(parts))] = kill
        assert heard.shard(name, killed) == 130
        left = list(heard.told[f"{killed}/{COUNT}"])
        assert left
        # All of another one happens between two things that the next one tells.
        missing = rounds * len(parts) - sum(".part-" in one for one in left)
        at = rng.randrange(missing)
        heard.before[f"{early}/{COUNT}", at] = lambda: heard.shard(name, late)
        assert heard.shard(name, early) == 0
        assert not heard.before
        assert heard.shard(name, killed) == 0
    # What was told is not made again, by whomever.
    assert not {*left} & {*heard.told[f"{early}/{COUNT}"], *heard.told[f"{late}/{COUNT}"]}
    assert heard.told[f"{killed}/{COUNT}"] == []
    collected(here, folder, name)


#: Kills the process before it tells the fifth thing, where it is asked to.
DIES = """
import os, signal
from negmine.table.artifacts.shards import Shelf
tell, told = Shelf.tell, []
def telling(shelf, name, what):
    if len(told) == 4 and os.environ.get("DIES"):
        os.kill(os.getpid(), signal.SIGKILL)
    told.append(name)
    return tell(shelf, name, what)
Shelf.tell = telling
cli.main()
"""


def test_processes_that_begin_together_one_of_which_is_killed(
    here: Here, data: Path, tmp_path: Path
) -> None:
    folder = copied(data, tmp_path / "data")

    def begin(index: int, **environment: str) -> subprocess.Popen[str]:
        words = [*command("all"), "--shard", f"{index}/{COUNT}"]
        return subprocess.Popen(
            [sys.executable, "-c", SMALL_PARTS + DIES, *words],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )

    processes = [begin(0), begin(1, DIES="yes"), begin(2)]
    said = [process.communicate(timeout=600)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, -signal.SIGKILL, 0], said
    again = begin(1)
    assert "Traceback" not in again.communicate(timeout=600)[1]
    assert again.returncode == 0
    collected(here, folder, "all")


def test_what_is_told_and_damaged_is_named(here: Here, data: Path, tmp_path: Path) -> None:
    """Through the command line: the shard that comes next says which file has to go."""
    folder = copied(data, tmp_path / "data")
    shard = (*command("percentile"), "--shard")
    here.done(*shard, "0/2", cwd=folder)
    (said,) = (folder / LEDGER / "_shards").glob("_told.*.learned.json")
    whole = json.loads(said.read_text())
    said.write_text(json.dumps({**whole, "digest": "0" * 32}))
    told = here.ends(5, *shard, "1/2", cwd=folder)
    assert "told of 'learned' is damaged" in told
    # As it would be found by what is said.
    (pattern,) = re.findall(r"Remove (_shards/\S+) of", told)
    assert list((folder / LEDGER).glob(pattern)) == [said]
    said.unlink()
    here.done(*shard, "1/2", cwd=folder)
    collected(here, folder, "percentile")
