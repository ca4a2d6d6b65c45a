"""What ``index`` would cost."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from negmine.commands.estimate import calls
from negmine.commands.estimate.chain import Chain, would_be_remade
from negmine.commands.estimate.cost import Cost, Watch, told
from negmine.commands.estimate.rehearsal import spread, written
from negmine.commands.estimate.speed import measure, resident_bytes, stretched
from negmine.errors import UsageError
from negmine.inputs.sampling import sample
from negmine.memory import peak_memory, reset_peak_memory
from negmine.models.base import Encoder
from negmine.models.devices import gpus
from negmine.models.random_encoder import RandomEncoder
from negmine.models.served_encoder import ServedEncoder
from negmine.models.trial import will_be_held
from negmine.params.index import IndexParams
from negmine.params.per_model import of_model
from negmine.sources.child import DOCUMENTS, Child, Encoding, Trained
from negmine.stages import cores, index
from negmine.table import artifacts
from negmine.table.artifacts.plan import Plan
from negmine.table.artifacts.reading import Artifact
from negmine.table.artifacts.replace import Replace
from negmine.table.artifacts.state import State
from negmine.table.documents import (
    PART_BYTES,
    PART_DOCUMENTS,
    Documents,
    full_text,
    write_documents,
)

#: Documents of the index that later stages are tried on, where the real one is not there.
_DOCUMENTS = 6_000
#: Texts whose tokens are counted.
TEXTS = 2_000


def cost_of_index(chain: Chain, params: IndexParams, out: Path) -> Cost:
    """Documents, and what sources need of them; the trial's index is for the stages after it."""
    cost = Cost("index", out)
    cores.take(params.threads)
    wanted = index.children_of(params)
    there = _There(chain, index.Made(out, chain.replacing, base=index.open_base(params, out)))
    states = {DOCUMENTS: there.documents(params)}
    for child in wanted:
        states[child.role] = there.child(child)
    _sum_up(cost, states)
    real = there.found.get(DOCUMENTS)
    if cost.skipped and real is not None:
        chain.index, chain.real = there.index(), True
        chain.documents = cost.documents = int(real.counts["documents"])
        chain.text_bytes = int(real.counts["text_bytes"])
        return cost
    corpus = _documents(chain, params, real, cost)
    cost.documents = chain.documents
    cost.units = -(-chain.documents // _part_documents(chain))
    small = _small(chain, corpus)
    made = index.Made(chain.trial("index"), budget=index.budget(params, wanted))
    trial = _Trial(chain, params, cost, made, small, corpus)
    children = {DOCUMENTS: small.artifact}
    for child in wanted:
        built = trial.of(child, children[child.parent], states[child.role])
        if built is not None:
            children[child.role] = built
    index.finish(made.out, children, True, [])
    chain.index, chain.real = made.out, False
    return cost


def _sum_up(cost: Cost, states: dict[str, State]) -> None:
    """One state of the index from those of its children."""
    refused = [state for state in states.values() if state.kind == "refused"]
    if refused:
        cost.state = told(refused[0])
    elif all(state.kind == "made" for state in states.values()):
        cost.state = "up to date"
    else:
        there = [f"{name} {told(s)}" for name, s in states.items() if s.kind != "start"]
        cost.state = ", ".join(["to do", *there])


@dataclass
class _There:
    """What an index has already, or names of its base.

    Attributes:
        chain: what is known.
        made: where it goes, and its base.
        found: what is finished and of the plan, by role.
    """

    chain: Chain
    made: index.Made
    found: dict[str, Artifact] = field(default_factory=dict)

    def documents(self, params: IndexParams) -> State:
        """State of the documents."""
        if index.is_foreign(params, self.made.out):
            return State("refused", reason=f"{self.made.out}: exists and is not a negmine index")
        if self.made.base is None and not artifacts.is_folder(self.made.out / DOCUMENTS):
            # No need to read the corpus for a plan.
            return State("start")
        plan = index.planned_documents(params, self.made)
        return self._state(DOCUMENTS, DOCUMENTS, plan, self.chain.replacing)

    def child(self, child: Child) -> State:
        """State of a child; where its parent is not there, so that it has no plan yet, a guess."""
        folder, parent = self.made.out / child.folder, self.found.get(child.parent)
        if parent is None:
            if artifacts.is_begun(folder) and self.chain.replacing is Replace.NOTHING:
                return State("refused", reason=would_be_remade(folder))
            return State("start")
        replacing = Replace.ALL if child.outdated(parent) else self.chain.replacing
        return self._state(child.role, child.folder, child.plan(parent), replacing)

    def _state(self, role: str, folder: str, plan: Plan, replacing: Replace) -> State:
        taken = self.made.taken(role, folder, plan)
        if taken is not None:
            self.found[role] = taken
            return State("made")
        state = artifacts.state_of(self.made.out / folder, plan, replacing=replacing)
        if state.kind == "made":
            self.found[role] = artifacts.open_artifact(self.made.out / folder)
        return state

    def index(self) -> Path:
        """An index of all that is there: it, or where its manifest is still to come a trial's."""
        if artifacts.is_finished(self.made.out):
            return self.made.out
        return index.finish(self.chain.trial("index"), self.found, True, []).path


def _documents(chain: Chain, params: IndexParams, real: Artifact | None, cost: Cost) -> Documents:
    """The corpus, or what a sample of the input gave; counts all of it.

    Args:
        chain: what is known.
        params: the options.
        real: the documents, where they are there.
        cost: gets what is to be read and written.
    """
    if real is not None:
        corpus = Documents(real)
        chain.documents = len(corpus)
        chain.text_bytes = int(corpus.artifact.counts["text_bytes"])
        return corpus
    changes: dict[str, Any] = {"on_error": "skip"}
    share = 1.0
    for role in ("corpus", "pairs"):
        if specs := getattr(params, role):
            found = sample(specs, role, chain.folder)
            changes[role] = found.specs
            share = found.share if role == "corpus" or not params.corpus else share
    watch = Watch()
    reset_peak_memory()
    with watch:
        made, _ = index.make_documents(
            replace(params, **changes), index.Made(chain.trial("corpus"))
        )
    corpus = Documents(made)
    count = round(len(corpus) / share)
    if params.limit is not None:
        count = min(count, params.limit)
    grown = count / len(corpus)
    if share < 1:
        chain.guesses += (f"documents: counted in {share:.1%} of the input",)
    chain.documents = count
    chain.text_bytes = int(made.counts["text_bytes"] * grown)
    cost.add("documents", watch.seconds * grown)
    cost.disk_bytes += int(written(made) * grown)
    cost.memory_bytes = max(cost.memory_bytes, peak_memory() or 0)
    return corpus


def _part_documents(chain: Chain) -> int:
    """Documents of a part."""
    mean = chain.text_bytes / max(1, chain.documents)
    return min(PART_DOCUMENTS, max(1, int(PART_BYTES / max(1, mean))))


def _small(chain: Chain, corpus: Documents) -> Documents:
    """A corpus of some of the documents: the same one where it is that small."""
    if len(corpus) <= _DOCUMENTS:
        return corpus
    made = index.Made(chain.trial("index"))
    plan = artifacts.Plan("index.documents", index.DOCUMENTS_VERSION, {"sample": _DOCUMENTS})
    writer = made.begin("documents", plan)
    assert writer is not None
    with writer:
        counts = write_documents(spread(corpus, _DOCUMENTS), writer, kept=corpus.kept)
        return Documents(writer.commit(counts))


@dataclass
class _Trial:
    """Children of an index, each tried on a small corpus.

    Attributes:
        chain: what is known of the run.
        params: the options.
        cost: what is expected.
        made: begins the trial's children.
        small: the small corpus.
        corpus: the corpus, or what a sample of it gave.
    """

    chain: Chain
    params: IndexParams
    cost: Cost
    made: index.Made
    small: Documents
    corpus: Documents

    def of(self, child: Child, parent: Artifact, state: State) -> Artifact | None:
        """Count the cost of a child that is not there yet; returns the small corpus's."""
        if child.encoding is not None:
            return self._encoded(child, child.encoding, parent, state)
        if child.trained is not None:
            return self._trained(child, child.trained, parent, state)
        return self._timed(child, parent, state)

    def _timed(self, child: Child, parent: Artifact, state: State) -> Artifact:
        """Make it of a quarter of the small corpus, then of all of it: the second is the pace."""
        first, second = Watch(), Watch()
        reset_peak_memory()
        quarter = self._quarter() if state.kind != "made" else None
        if quarter is not None:
            warm_up = index.Made(quarter.artifact.path.parent, budget=self.made.budget)
            with first:
                child.make(warm_up, quarter.artifact)
        with second:
            built = child.make(self.made, parent)
        if quarter is not None:
            pace = second.seconds / len(self.small)
            left = max(0, self.chain.documents - len(quarter))
            self.cost.add(child.role, first.seconds + left * pace)
            grown = self.chain.documents / len(self.small)
            self.cost.disk_bytes += int(written(built) * grown)
            self.cost.memory_bytes = max(self.cost.memory_bytes, peak_memory() or 0)
        return built

    def _quarter(self) -> Documents:
        """A quarter of the small corpus."""
        made = index.Made(self.chain.trial("warm-up"))
        plan = artifacts.Plan("index.documents", index.DOCUMENTS_VERSION, {"sample": "quarter"})
        writer = made.begin(DOCUMENTS, plan)
        if writer is None:
            return Documents(artifacts.open_artifact(made.out / DOCUMENTS))
        with writer:
            some = spread(self.small, max(1, len(self.small) // 4))
            counts = write_documents(some, writer, kept=self.small.kept)
            return Documents(writer.commit(counts))

    def _trained(
        self, child: Child, trained: Trained, parent: Artifact, state: State
    ) -> Artifact | None:
        """Build it of the small corpus, or where that is too small, ask for its size.

        Returns:
            What sources are tried with; None where they are tried without it.

        Raises:
            UsageError: there is no such index, or it cannot be built within the ceiling.
        """
        chain, cost, budget = self.chain, self.cost, self.made.budget
        count = len(self.small)
        tried = child if trained.tried_on is None else trained.tried_on(count)
        if state.kind == "made":
            return None if trained.tried_on is None else tried.make(self.made, parent)
        trained.refuse(parent, chain.documents, budget)
        watch, built = Watch(), None
        try:
            with watch:
                built = tried.make(self.made, parent)
            each = trained.grown(built) / count
            small = tried.trained or trained
            cost.add(
                trained.what, watch.seconds * trained.work(chain.documents) / small.work(count)
            )
        except UsageError:
            each = trained.bytes_each(parent)
            cost.guesses.append(
                f"the {trained.what}: its time is not counted, {count:,} documents do not train "
                f"{trained.spec}"
            )
        cost.disk_bytes += int(each * chain.documents)
        held = trained.held(parent, chain.documents, budget.work)
        cost.memory_bytes = max(cost.memory_bytes, resident_bytes() + held)
        return None if trained.tried_on is None else built

    def _encoded(
        self, child: Child, encoding: Encoding, parent: Artifact, state: State
    ) -> Artifact:
        """Time some batches of the encoder; the small corpus gets random vectors of its size."""
        with Watch() as loading:
            encoder = encoding.load()
        if state.kind != "made" and isinstance(encoder, ServedEncoder):
            self._count_calls(child.name, encoder, _left(state, self.corpus))
        elif state.kind != "made":
            self.cost.add(f"load {child.name}", loading.seconds)
            self._time(child.name, encoder, encoding, _left(state, self.corpus))
        writer = self.made.begin(child.folder, child.plan(parent))
        assert writer is not None
        with writer:
            if encoding.stand_in is None:
                asked = isinstance(encoder, ServedEncoder)
                width = encoder.assumed_dimension if asked else encoder.dimension
                stand_in: Any = RandomEncoder(width)
            else:
                stand_in = encoding.stand_in(encoder, self._texts())
            built = writer.commit(encoding.fill(self.small, writer, stand_in))
        if state.kind != "made":
            grown = _left(state, self.corpus) * self.chain.documents / len(self.small)
            self.cost.disk_bytes += int(written(built) * grown)
        return built

    def _count_calls(self, name: str, encoder: ServedEncoder, share: float) -> None:
        """Count what a server would be asked, for this share of the documents; nobody is asked."""
        cost, count = self.cost, round(self.chain.documents * share)
        tokens = int(encoder.lengths(self._texts(), "document").mean() * count)
        calls.count_server(cost, self.params, encoder.calls(count), tokens)
        cost.guesses += [
            f"{name}: a token is 4 bytes, and a vector has {encoder.assumed_dimension:,} numbers",
            f"{name}: the time that the server takes is not known",
        ]

    def _texts(self) -> list[str]:
        """Some of the corpus."""
        return [text for b in spread(self.corpus, TEXTS) for text in full_text(b).to_pylist()]

    def _time(self, name: str, encoder: Encoder, encoding: Encoding, share: float) -> None:
        """Time some batches, for this share of the documents."""
        texts = self._texts()
        lengths = encoder.lengths(texts, "document")
        speed = measure(
            lengths,
            _batch_size(encoder.describe(), of_model(self.params.batch_size, name)),
            encoder.batch_tokens,
            lambda rows: encoder.encode([texts[i] for i in rows], "document"),
        )
        held = resident_bytes()
        count = round(self.chain.documents * share)
        mean = self.chain.text_bytes / max(1, self.chain.documents)
        part = stretched(lengths, min(count, _part_documents(self.chain)))
        parts = count / max(1, len(part))
        devices = len(gpus(self.params.device, encoder.placement.device))
        together = max(1.0, min(parts, devices))
        self.cost.add(f"encode {name}", speed.of_call(part) * parts / together)
        tokens = int(lengths.mean() * count)
        self.cost.tokens += tokens
        if will_be_held(encoder, tokens):
            self.cost.guesses.append(
                f"{name}: timed by PyTorch; OpenVINO runs it if a trial finds that faster"
            )
        # A part is held as text, as Python's strings, as tokens and as what they become.
        around = len(part) * (3 * mean + encoding.bytes_each(encoder)) + 12 * int(part.sum())
        needed = held + speed.memory_of_call(part) + int(around)
        self.cost.memory_bytes = max(self.cost.memory_bytes, needed)


def _left(state: State, corpus: Documents) -> float:
    """The share of the documents that an interrupted run has not encoded."""
    done = {name.replace(".npy", ".parquet") for name in state.done}
    rows = sum(corpus.artifact.rows(name) for name in corpus.names if name in done)
    return 1 - rows / max(1, len(corpus))


def _batch_size(described: Any, asked: int) -> int:
    """Rows of a batch; a model that runs row by row says so."""
    return int(described.get("batch_size", asked))
