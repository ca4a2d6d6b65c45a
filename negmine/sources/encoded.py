"""What sources share that a model made: the model, its queries, and whether it is the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast, runtime_checkable

import numpy as np
import pyarrow as pa

from negmine import log, memory, processors
from negmine.endpoints.budget import Budget
from negmine.endpoints.settings import Options, limits_of, without_secrets
from negmine.engine.parts import leave_idle
from negmine.engine.shares import COLLECTING, WHOLE, LeftToOthers
from negmine.errors import InvalidDataError, UsageError, did_you_mean
from negmine.models.base import SAMPLE, Settles, Side
from negmine.models.counting import AT_LIMIT, Progress, Reading, read_of
from negmine.models.devices import Placement, gpus
from negmine.models.resolve import ModelRef, resolve
from negmine.models.served_encoder import PROBED, Served, calls_for, served, shape_of
from negmine.models.tokens import Ints
from negmine.params.per_model import of_model
from negmine.params.retrieve import RetrieveParams
from negmine.params.values import named
from negmine.sources.base import Asked
from negmine.sources.child import DOCUMENTS, Made, Place
from negmine.table import artifacts
from negmine.table.artifacts.plan import Plan
from negmine.table.artifacts.reading import Artifact
from negmine.table.artifacts.replace import Replace
from negmine.table.artifacts.writing import Writer
from negmine.table.conservation import conserve
from negmine.table.documents import Documents, full_text


class Encodes(Protocol):
    """A loaded model that makes something of every text."""

    @property
    def placement(self) -> Placement:
        """Where it runs, in which format."""

    def describe(self) -> dict[str, object]:
        """Everything that decides what it makes."""

    def lengths(self, texts: Sequence[str], side: Side) -> Ints:
        """Tokens of each text."""

    def encode(self, texts: Sequence[str], side: Side, progress: Progress | None = None) -> Any:
        """What it makes of the texts, in their order."""


E = TypeVar("E", bound=Encodes)
T = TypeVar("T")


@dataclass(frozen=True)
class Server:
    """How encoders behind HTTP are asked about queries.

    Attributes:
        options: how fast, and how much.
        elsewhere: where their servers are now, ``NAME=SPEC`` each.
        place: the folder in which their answers are kept; None = they are not.
        budget: what may be spent, by all of them together; None = what the options say, each.
    """

    options: Options = field(default_factory=RetrieveParams)
    elsewhere: tuple[str, ...] = ()
    place: Path | None = None
    budget: Budget | None = None


@dataclass(frozen=True)
class OfQueries:
    """How the model that made an artifact of an index is run for queries.

    Attributes:
        query_prompt: what is put before each; None = the model's own.
        batch_size: most queries in a model call.
        device: where it runs.
        trusted: whether the user trusts code that the model brings.
        server: how it is asked, where it is behind HTTP.
    """

    query_prompt: str | None
    batch_size: int
    device: str
    trusted: bool = False
    server: Server = field(default_factory=lambda: Server())

    @classmethod
    def of(
        cls, params: RetrieveParams, name: str, prompt: str | None, server: Server | None = None
    ) -> OfQueries:
        """As the options of ``retrieve`` say of the source ``name``."""
        return cls(
            prompt,
            of_model(params.batch_size, name),
            params.device,
            of_model(params.trust_remote_code, name),
            server or Server(params, params.encoder),
        )

    def settings(self, made_with: Mapping[str, Any]) -> dict[str, Any]:
        """Settings of any model, the others being those that the documents were encoded with."""
        return {
            "query_prompt": self.query_prompt,
            "max_length": made_with["max_length"],
            "batch_size": self.batch_size,
            "device": self.device,
            "threads": processors.threads(),
            # Queries are few: they need not be rounded because the documents were.
            "dtype": "float32" if made_with["dtype"] == "int8" else made_with["dtype"],
            # Indexes from before there was a choice were made by PyTorch.
            "runtime": made_with.get("runtime", "torch"),
            "trust_remote_code": self.trusted and made_with.get("trust_remote_code", False),
        }


@runtime_checkable
class Behind(Protocol):
    """A model behind HTTP."""

    def probe(self) -> None:
        """Ask about texts of which the answer is known, once."""

    def spent(self) -> dict[str, Any]:
        """Where it was asked, and what that took."""

    def close(self) -> None:
        """Close the connections."""


class OneModel(Generic[E]):
    """A model that may be loaded before its turn, and is let go after it.

    Args:
        read: loads it.
    """

    def __init__(self, read: Callable[[], E]) -> None:
        self._read = read
        self._loaded: E | None = None

    def load(self) -> None:
        """Load it, unless it is there."""
        if self._loaded is None:
            self._loaded = self._read()

    def ready(self) -> None:
        """Load it, and where it is a server see that it can be believed."""
        self.load()
        if isinstance(self._loaded, Behind):
            self._loaded.probe()

    def taken(self) -> E:
        """The model, which is whoever's asked for it from now on."""
        self.load()
        model, self._loaded = self._loaded, None
        assert model is not None
        return model


class EncodedQueries(Generic[E, T]):
    """The queries of a search as a model encodes them: a batch at once, whoever is searched.

    Args:
        name: of the source.
        load: loads the model.
        join: puts together what the model made of one piece of a batch after the other.
        together: queries encoded together: what else is in a model's batch shows in the last
            digits, so this must not depend on how many are searched together.
    """

    def __init__(
        self,
        name: str,
        load: Callable[[], E],
        join: Callable[[Sequence[T]], T],
        together: int,
    ) -> None:
        self._name, self._load, self._join, self._together = name, load, join, together
        self._model: E | None = None
        self._encoded: tuple[Sequence[str], T] | None = None
        self._read: Counter[str] = Counter()

    @property
    def model(self) -> E:
        """The model, loaded."""
        if self._model is None:
            self._model = self._load()
        return self._model

    def of(self, asked: Asked) -> tuple[T, np.ndarray]:
        """(what is made of the whole batch, the row in it of each query that is asked)."""
        whole, rows = asked.among or (asked, np.arange(len(asked)))
        queries = whole.texts
        # search() and score() are asked about the same list one after the other.
        if self._encoded is None or self._encoded[0] is not queries:
            model = self.model
            with log.progress("encoding queries", len(queries), " queries") as bar:
                reading = Reading(bar)
                pieces = [
                    model.encode(queries[start : start + self._together], "query", reading)
                    for start in range(0, max(1, len(queries)), self._together)
                ]
            self._read.update({"queries": len(queries), **reading.counts()})
            self._encoded = (queries, self._join(pieces))
        return self._encoded[1], rows

    def tokens(self, queries: Sequence[str]) -> int:
        """Tokens that the model reads for these queries."""
        return int(self.model.lengths(queries, "query").sum())

    def spent(self) -> dict[str, Any]:
        """What a server was asked, and what that took; nothing of a model on this machine."""
        return self._model.spent() if isinstance(self._model, Behind) else {}

    def close(self) -> None:
        """Let go of the model, and say of how many queries the end may have been cut off."""
        if isinstance(self._model, Behind):
            self._model.close()
        if self._model is not None and (long := self._read[AT_LIMIT]):
            log.event(
                f"{self._name}: {long:,} of {self._read['queries']:,} queries have as many tokens "
                "as it reads, so their ends may be cut off (index --max-length)",
                **self._read,
            )
        self._model = self._encoded = None
        self._read.clear()


@dataclass(frozen=True)
class Told:
    """A model that somebody else has loaded, who has encoded everything.

    Attributes:
        said: what its manifest says of it.
        dimension: of what it makes.
    """

    said: Mapping[str, Any]
    dimension: int

    def describe(self) -> dict[str, Any]:
        """As it was said."""
        return dict(self.said)


@dataclass(frozen=True)
class Encoded(Generic[E]):
    """A child of an index that a model makes of every document.

    Attributes:
        name: of the source.
        place: where it goes.
        reference: the model.
        described: what decides it beside the model and the documents.
        version: of the code that makes it.
        device: ``--device``.
        load: loads the model on a device.
        fill: (corpus, writer, models, progress): writes all parts; counts, and what else the
            manifest tells.
        checked: (model, corpus, budget): sees that what comes after can be made.
        suffix: of its parts, each named as the part of the documents that it is made of.
    """

    name: str
    place: Place
    reference: ModelRef
    described: Mapping[str, Any]
    version: int
    device: str
    load: Callable[[str], E]
    fill: Callable[
        [Documents, Writer, Sequence[E], log.Progress], tuple[dict[str, int], dict[str, Any]]
    ]
    checked: Callable[[E, Documents, memory.Budget], None] = lambda *_: None
    suffix: str = ".parquet"

    def plan(self, documents: Artifact) -> Plan:
        """What it is made from."""
        return Plan(
            self.place.stage,
            self.version,
            self.described,
            artifacts={"documents": documents},
            models={self.name: {"model": self.reference.spec, "revision": self.reference.revision}},
        )

    def tried(self, model: OneModel[E], made: Made) -> None:
        """Load the model before anything is written, if it is going to encode."""
        folder, base = self.place.path(self.name), made.base
        if made.share is not WHOLE and not self._is_left(made, folder):
            return
        if base is not None and made.taken(self.name, folder, self.plan(base.input(DOCUMENTS))):
            return
        there = made.out / folder
        if not artifacts.is_finished(there) or (
            made.replacing is not Replace.NOTHING
            and artifacts.open_artifact(there).params != self.described
        ):
            model.ready()

    def make(self, model: OneModel[E], made: Made, documents: Artifact) -> Artifact:
        """Encode the documents, unless it is done.

        Raises:
            LeftToOthers: this process's share of it is made.
        """
        folder, plan = self.place.path(self.name), self.plan(documents)
        if made.share is WHOLE:
            state = artifacts.state_of(made.out / folder, plan, replacing=made.replacing)
            if state.kind not in ("made", "refused"):
                # Before what is there goes: the model may not be able to do what is asked of it.
                model.ready()
        writer = made.begin(folder, plan, shared=True)
        if writer is None:
            return artifacts.open_artifact(made.out / folder)
        corpus = Documents(documents)
        with writer:
            if made.share is not WHOLE:
                leave_idle(self._parts(corpus), writer.has, made.share)
            encoder = self._loaded(model, writer, corpus)
            self.checked(encoder, corpus, made.budget)
            every = [encoder, *map(self.load, self._further(encoder, corpus))]
            with log.progress(f"encoding with {self.name}", len(corpus), " docs") as bar:
                counts, facts = self.fill(corpus, writer, every, bar)
            conserve("documents", len(corpus), encoded=writer.rows())
            read = read_of(map(writer.stats, self._parts(corpus)))
            # Who encoded the documents knows; who collects may run the model elsewhere.
            told = writer.chosen(self._told) or {}
            of_run = {ENDPOINT: told[ENDPOINT]} if ENDPOINT in told else None
            if isinstance(encoder, Behind):
                of_run = {ENDPOINT: encoder.spent()}
                encoder.close()
            described = dict(told.get("described") or encoder.describe())
            self._tell_read(read, len(corpus))
            return writer.commit(
                {**counts, **read},
                ceiling=made.budget.ceiling,
                of_run=of_run,
                encoder=described,
                **facts,
            )

    def _tell_read(self, read: Mapping[str, int], documents: int) -> None:
        """Say of how many documents the end may have been cut off."""
        if long := read.get(AT_LIMIT, 0):
            log.event(
                f"{self.name}: {long:,} of {documents:,} documents have as many tokens as it "
                "reads, so their ends may be cut off (--max-length)",
                **read,
            )

    def _parts(self, corpus: Documents) -> list[str]:
        return [Path(name).stem + self.suffix for name in corpus.names]

    def _is_left(self, made: Made, folder: str) -> bool:
        """Whether this process has any of the documents to encode, which are there already."""
        if made.share is COLLECTING or not artifacts.is_finished(made.out / DOCUMENTS):
            return False
        documents = artifacts.open_artifact(made.out / DOCUMENTS)
        state = artifacts.state_of(made.out / folder, self.plan(documents))
        if state.kind in ("made", "refused"):
            return False
        try:
            leave_idle(self._parts(Documents(documents)), set(state.done).__contains__, made.share)
        except LeftToOthers:
            return False
        return True

    def _loaded(self, model: OneModel[E], writer: Writer, corpus: Documents) -> E:
        """The model as it runs for these documents.

        Who collects loads none where those who encoded the documents have told of theirs.
        """
        told = writer.chosen(self._told)
        if writer.share is COLLECTING and told is not None:
            return cast(E, Told(told["described"], told["dimension"]))
        model.ready()
        encoder = self._settled(model.taken(), writer, corpus)
        if not writer.share.whole:
            said = {"described": encoder.describe(), "dimension": cast(Any, encoder).dimension}
            if isinstance(encoder, Behind):
                spent = encoder.spent()
                said[ENDPOINT] = {key: spent[key] for key in ("url", PROBED)}
            writer.choose(self._told, said)
        return encoder

    def _further(self, encoder: E, corpus: Documents) -> list[str]:
        """The other GPUs on which the model is loaded as well; where it runs is told."""
        if isinstance(encoder, Told):
            return []
        placement = encoder.placement
        on = gpus(self.device, placement.device) or [placement.device]
        log.event(
            f"{self.name}: encoding {len(corpus):,} documents with {self.reference.spec} "
            f"({', '.join(on)}, {placement.dtype}, {placement.runtime})"
        )
        return on[1:]

    @property
    def _told(self) -> str:
        """Where those who encode tell what they have loaded; no name of an encoder has a dot."""
        return f"{self.name}.told"

    def _settled(self, encoder: E, writer: Writer, corpus: Documents) -> E:
        """The model by what runs it for these documents: chosen once, and kept."""

        def texts() -> Sequence[str]:
            first = full_text(corpus.artifact.read(corpus.names[0]))
            rows = np.linspace(0, len(first) - 1, min(len(first), SAMPLE)).astype(np.int64)
            return first.take(pa.array(rows)).to_pylist()

        if not isinstance(encoder, Settles):
            return encoder
        before = writer.chosen(self.name)
        settled, chosen = encoder.settled(texts, lambda: len(corpus), before)
        held = writer.choose(self.name, chosen)
        if held != chosen:
            # Another process that encodes the same documents was first.
            settled, _ = encoder.settled(texts, lambda: len(corpus), held)
        return cast(E, settled)


#: In the facts of a run, where the server was that encoded the documents.
ENDPOINT = "endpoint"


def calls_of(made: Artifact, name: str, batch_size: int) -> Callable[[int], int] | None:
    """How many calls so many queries take; None where the encoder is on this machine."""
    if not is_behind(made, name):
        return None
    return partial(calls_for, batch_size=batch_size)


def is_behind(made: Artifact, name: str) -> bool:
    """Whether an encoder behind HTTP encoded the documents of an index for ``name``."""
    return shape_of(made.models[name]["model"]) is not None


def check_elsewhere(given: tuple[str, ...], known: Mapping[str, Artifact], unknown: str) -> None:
    """See that who is said to be elsewhere is an encoder behind HTTP that is known.

    Args:
        given: ``NAME=SPEC`` each.
        known: what encoders made, by name.
        unknown: how it is said that there is none of a name.

    Raises:
        UsageError: it is none.
    """
    for name in named(given, "--encoder"):
        if name not in known:
            raise UsageError(f"--encoder: {unknown} '{name}'", hint=did_you_mean(name, known))
        if not is_behind(known[name], name):
            raise UsageError(
                f"--encoder says where a server is, and '{name}' was encoded on this machine",
                where=str(known[name].path),
                hint="Leave it out: queries are encoded by the same model.",
            )


def local_models(made: Artifact, name: str) -> tuple[ModelRef, ...]:
    """The model that encoded the documents of an index, where it runs on this machine."""
    return () if is_behind(made, name) else (resolve(made.models[name]["model"]),)


def behind(made: Artifact, name: str, server: Server) -> Served | None:
    """The encoder behind HTTP that encoded the documents; None where it was a model here.

    Raises:
        UsageError: it is said to be elsewhere, and what is named there is another one.
        InvalidDataError: another model answers now.
    """
    if not is_behind(made, name):
        return None
    spec = made.models[name]["model"]
    endpoint = made.manifest["run"].get(ENDPOINT, {})
    now = named(server.elsewhere, "--encoder").get(name, f"{spec}@{endpoint.get('url', '')}")
    budget = server.budget or Budget(*limits_of(server.options))
    found = served(now, name, server.options, budget, trusted=True)
    if found is None or found.spec != spec:
        raise UsageError(
            f"--encoder {name}={without_secrets(now)}: the index was encoded by {spec}",
            where=str(made.path),
            hint=f"Say where that one is: --encoder {name}={spec}@URL.",
        )
    if found.reference.revision != made.models[name]["revision"]:
        raise InvalidDataError(
            f"the server of '{name}' has another model than the one that encoded the corpus "
            f"({found.reference.revision} instead of {made.models[name]['revision']})",
            where=found.settings.url,
            hint=f"Say where that one is (--encoder {name}={spec}@URL), or index again with "
            "--force.",
        )
    return found


def refuse_untrusted(made: Artifact, name: str, trusted: bool) -> None:
    """Nobody's code runs because an index says so.

    Raises:
        UsageError: what a model made for ``name`` was made with its own code trusted, which is not
            so now.
    """
    if made.params.get("trust_remote_code") and not trusted:
        what = made.stage.rpartition(".")[2]
        raise UsageError(
            f"the {what} '{name}' were made with --trust-remote-code",
            where=made.models[name]["model"],
            hint="Give it here, too, if you trust the code that this model brings.",
        )


def model_of(made: Artifact, name: str, trusted: bool) -> ModelRef:
    """The model that encoded the documents of an index for ``name``.

    Raises:
        InvalidDataError: it is not the same any more.
        UsageError: it runs code of its own, which is not ``trusted``.
    """
    refuse_untrusted(made, name, trusted)
    model = made.models[name]
    reference = resolve(model["model"])
    if reference.revision != model["revision"]:
        raise InvalidDataError(
            f"the model {model['model']} is not the one that encoded the corpus "
            f"({reference.revision} instead of {model['revision']})",
            where=str(made.path),
            hint="Bring back that model, or index again with --force.",
        )
    return reference
