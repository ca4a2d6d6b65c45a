"""Vectors as a kind of source: one set for each encoder, and on request an approximate index."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any

from negmine import log, memory
from negmine.endpoints.budget import Budget
from negmine.endpoints.settings import limits_of
from negmine.errors import UsageError
from negmine.models import limits
from negmine.models.base import Encoder, EncoderSettings
from negmine.models.random_encoder import RandomEncoder
from negmine.models.resolve import ModelRef, resolve
from negmine.models.served_encoder import Served, ServedEncoder, served
from negmine.models.served_encoder import check as check_served
from negmine.models.token_files import Turn
from negmine.params.index import IndexParams
from negmine.params.llm import CallOptions
from negmine.params.model_options import model_options
from negmine.params.per_model import names_in, of_model
from negmine.params.retrieve import RetrieveParams
from negmine.params.values import per_name
from negmine.sources.another import OF_QUERIES
from negmine.sources.base import Source
from negmine.sources.child import Child, Encoding, Made, Needs, Place, Trained
from negmine.sources.encoded import (
    Encoded,
    OfQueries,
    OneModel,
    Server,
    calls_of,
    check_elsewhere,
    is_behind,
    local_models,
    refuse_untrusted,
)
from negmine.sources.encoders import DENSE_ONES, check_options, doc_prompts, encoders_of
from negmine.sources.kind import Kind, Opening, SourceRef
from negmine.sources.vectors import Stored
from negmine.table import artifacts
from negmine.table.artifacts.plan import Plan
from negmine.table.artifacts.reading import Artifact
from negmine.table.artifacts.writing import Writer
from negmine.table.conservation import conserve
from negmine.table.documents import Documents
from negmine.table.names import VECTORS

VECTORS_VERSION = 3
ANN_VERSION = 2
VECTORS_PLACE = Place(VECTORS, "vectors/*")
#: The space keeps the role from being any encoder's name.
ANN_PLACE = Place("index.ann", "ann/*", prefix="ann ", of="vectors")
#: What to do where approximate indexes do not fit.
_SMALLER = (
    "Of an inverted file (index --ann IVF4096,Flat, for example) only the lists that one query "
    "probes (nprobe) must fit, of any other index all of it."
)


# --- index --------------------------------------------------------------------------------------


def _children(params: IndexParams) -> Sequence[Child]:
    encoders = encoders_of(params, DENSE_ONES)
    check_options(params)
    prompts = doc_prompts(params)
    if params.truncate_dim is not None and not params.encoder:
        raise UsageError(
            "--truncate-dim: there are no vectors to truncate", hint="Give --encoder NAME=MODEL."
        )
    children: list[Child] = []
    spending = Budget(*limits_of(params))
    for name, model in encoders.items():
        asked = served(model, name, params, spending, params.trust_anyway)
        children.append(_vectors_child(params, name, model, asked, prompts.get(name)))
        if params.ann is not None:
            children.append(_ann_child(params.ann, name))
    return children


def _vectors_child(
    params: IndexParams, name: str, spec: str, asked: Served | None, prompt: str | None
) -> Child:
    settings = EncoderSettings(
        **model_options(params, name),
        doc_prompt=prompt,
        pooling=of_model(params.pooling, name),
        truncate_dim=of_model(params.truncate_dim, name),
        normalize=of_model(params.normalize, name),
    )
    reference = _reference(name, spec, asked, settings)
    stored: Stored = of_model(params.vectors, name)

    def load(device: str) -> Encoder:
        if asked is not None:
            return ServedEncoder(asked, settings)
        from negmine.models.encoders import load_encoder

        return load_encoder(reference, replace(settings, device=device))

    def checked(encoder: Encoder, corpus: Documents, budget: memory.Budget) -> None:
        from negmine.sources import ann

        if params.ann is not None:
            # Encoding takes hours; an index that cannot follow is refused before.
            ann.refuse_beyond(params.ann, encoder.dimension, len(corpus), budget)

    made_of = Encoded(
        name,
        VECTORS_PLACE,
        reference,
        _described(settings, stored),
        VECTORS_VERSION,
        params.device,
        load,
        fill=partial(_fill, name, stored),
        checked=checked,
        suffix=".npy",
    )
    model = OneModel(lambda: load(settings.device))

    def tried(made: Made) -> None:
        if asked is not None or _may_be_refused(reference, settings):
            made_of.tried(model, made)

    def filled(documents: Documents, writer: Writer, encoder: Encoder) -> dict[str, int]:
        from negmine.sources import dense

        dense.build(documents, writer, [encoder], lambda _: None, stored)
        return {"vectors": writer.rows(), "dimension": encoder.dimension}

    return Child(
        name,
        VECTORS_PLACE,
        plan=made_of.plan,
        make=partial(made_of.make, model),
        tried=tried,
        needs=Needs(models=(reference,)),
        encoding=Encoding(model.taken, filled, Turn(reference, settings.max_length, prompt)),
    )


def _reference(name: str, spec: str, asked: Served | None, settings: EncoderSettings) -> ModelRef:
    """The model, which can do what is asked of it as far as its files or its kind tell."""
    if asked is not None:
        check_served(name, settings)
        return asked.reference
    reference = resolve(spec)
    limits.check_encoder(reference, settings)
    return reference


def _fill(
    name: str,
    number_format: Stored,
    corpus: Documents,
    writer: Writer,
    encoders: Sequence[Encoder],
    bar: log.Progress,
) -> tuple[dict[str, int], dict[str, Any]]:
    """Encode the documents; counts, and how the vectors are stored."""
    from negmine.sources import dense

    stored = dense.build(corpus, writer, encoders, bar, number_format, bar.part)
    log.event(f"{name}: vectors are stored as {stored['dtype']} ({stored['reason']})", **stored)
    counts = {"vectors": writer.rows(), "dimension": encoders[0].dimension}
    return counts, {"stored": stored}


def _may_be_refused(reference: ModelRef, settings: EncoderSettings) -> bool:
    """Whether a model may not be able to do what is asked of it, or asks for more."""
    if reference.backend == "onnx" or limits.brings_code(reference):
        # It may want a pooling or a length, or trust.
        return True
    plain = EncoderSettings()
    asked = ("pooling", "truncate_dim", "max_length", "dtype", "runtime")
    return any(getattr(settings, one) != getattr(plain, one) for one in asked)


def _described(settings: EncoderSettings, stored: Stored) -> dict[str, Any]:
    """What decides vectors beside their model and the documents."""
    return {
        "doc_prompt": settings.doc_prompt,
        "pooling": settings.pooling,
        "normalize": settings.normalize,
        "max_length": settings.max_length,
        "batch_size": settings.batch_size,
        "dtype": settings.dtype,
        "runtime": settings.runtime,
        "vectors": stored,
        # Not there where they are not asked for, as in indexes made before they could be.
        **settings.truncation(),
        **({"trust_remote_code": True} if settings.trust_remote_code else {}),
    }


# --- index --ann --------------------------------------------------------------------------------


def _ann_child(factory: str, name: str) -> Child:
    from negmine.sources import ann, ivf

    def dimension(vectors: Artifact) -> int:
        return int(vectors.counts["dimension"])

    def refuse(vectors: Artifact, count: int, budget: memory.Budget) -> None:
        ann.refuse_beyond(factory, dimension(vectors), count, budget)

    return Child(
        name,
        ANN_PLACE,
        plan=partial(ann_plan, factory),
        make=partial(_make_ann, factory, name),
        trained=Trained(
            "approximate index",
            factory,
            refuse,
            bytes_each=lambda vectors: ann.bytes_per_vector(factory, dimension(vectors)),
            held=lambda vectors, n, work: ann.held_to_build(factory, dimension(vectors), n, work),
            grown=lambda built: (built.file(ann.FOLDER) / ivf.FILE).stat().st_size,
        ),
    )


def ann_plan(factory: str, vectors: Artifact) -> Plan:
    """What an approximate index is made from."""
    return Plan(ANN_PLACE.stage, ANN_VERSION, {"factory": factory}, artifacts={"vectors": vectors})


def _make_ann(factory: str, name: str, made: Made, vectors: Artifact) -> Artifact:
    """Build an approximate index over stored vectors, unless it is done."""
    from negmine.sources import ann
    from negmine.sources.vectors import Vectors

    stored = Vectors(vectors)
    folder, plan = ANN_PLACE.path(name), ann_plan(factory, vectors)
    if artifacts.state_of(made.out / folder, plan, replacing=made.replacing).kind != "made":
        # Before the writer begins, which takes the index's manifest away.
        dimension = int(vectors.counts["dimension"])
        ann.refuse_beyond(factory, dimension, len(stored), made.budget)
    writer = made.begin(folder, plan)
    if writer is None:
        return artifacts.open_artifact(made.out / folder)
    log.event(f"{name}: building the approximate index {factory}")
    with writer, log.waiting(f"building the approximate index of {name}"):
        if not writer.has(ann.FOLDER):
            writer.add_folder(
                ann.FOLDER,
                lambda folder: {"vectors": ann.build(stored, factory, folder, made.budget)},
            )
        counts = writer.stats(ann.FOLDER)
        conserve("vectors", len(stored), added=counts["vectors"])
        return writer.commit(counts, ceiling=made.budget.ceiling)


# --- retrieve -----------------------------------------------------------------------------------


def _choose(
    params: RetrieveParams, wanted: Mapping[str, str], index: Artifact
) -> Sequence[SourceRef]:
    known = {name: index.input(name) for name in index.roles(VECTORS)}
    check_elsewhere(params.encoder, known, "the index has no vectors")
    children = {name: index.input(name) for name in wanted}
    # Others' names are known: what begins with one is no prompt for all.
    named_ones = dict.fromkeys([*children, *names_in(params.query_prompt)], "")
    prompts = per_name(params.query_prompt, named_ones, "--query-prompt")
    for name, child in children.items():
        refuse_untrusted(child, name, of_model(params.trust_remote_code, name))
    approximate = _approximate(params.ann, children, index)
    return [
        SourceRef(
            name,
            partial(_open, name, child, approximate.get(name), prompts.get(name)),
            child,
            beside={ANN_PLACE.role(name): approximate[name]} if name in approximate else {},
            needs=partial(_needs, child, name, approximate.get(name), params.ann),
            lists=name in approximate,
            vectors=child,
            calls=calls_of(child, name, of_model(params.batch_size, name)),
        )
        for name, child in children.items()
    ]


def _approximate(
    ann: str | None, children: Mapping[str, Artifact], index: Artifact
) -> dict[str, Artifact]:
    """The approximate index of each encoder's vectors, where one is to be searched."""
    if ann is None:
        return {}
    if not children:
        raise UsageError("--ann: no source searches vectors")
    for name in children:
        if ANN_PLACE.role(name) not in index.inputs:
            raise UsageError(
                f"--ann: the index holds no approximate index of the vectors '{name}'",
                where=str(index.path),
                hint="Build it with: negmine index ... --ann FACTORY",
            )
    return {name: index.input(ANN_PLACE.role(name)) for name in children}


def _needs(
    vectors: Artifact, name: str, approximate: Artifact | None, settings: str | None
) -> Needs:
    models = local_models(vectors, name)
    if approximate is None:
        return Needs(models)
    from negmine.sources.ann import held_to_search

    held = held_to_search(approximate, settings or "")
    return Needs(models, large={"approximate_indexes": held}, hint=_SMALLER)


def _open(
    name: str,
    vectors: Artifact,
    approximate: Artifact | None,
    prompt: str | None,
    opening: Opening,
) -> Source:
    from negmine.sources.ann import open_index
    from negmine.sources.dense import DenseSource
    from negmine.sources.vectors import Vectors

    params = opening.params
    return DenseSource(
        opening.corpus,
        Vectors(vectors),
        query_encoder(opening, params, name, vectors, prompt),
        memory=opening.budget.search,
        ann=None
        if approximate is None
        else open_index(approximate, params.ann or "", opening.lists),
        device=params.device,
        together=opening.together,
        name=name,
    )


def query_encoder(
    opening: Opening, params: RetrieveParams, name: str, vectors: Artifact, prompt: str | None
) -> Callable[[], Encoder]:
    """What loads the encoder of queries for stored vectors; for a trial no server is asked.

    Args:
        opening: the run.
        params: the options of ``retrieve``.
        name: the encoder's.
        vectors: what it made of the documents.
        prompt: what is put before every query; None: the model's own.
    """
    from negmine.sources.dense import load_query_encoder

    if opening.trial and is_behind(vectors, name):
        return lambda: RandomEncoder(int(vectors.counts["dimension"]))
    place = None if opening.scratch is None else opening.scratch.parent
    server = Server(opening.params, opening.params.encoder, place, opening.spending)
    how = OfQueries.of(params, name, prompt, server)
    return lambda: load_query_encoder(vectors, name, how)


_OF_SERVERS = tuple(one.name for one in fields(CallOptions))
DENSE = Kind(
    "dense",
    _choose,
    reads={
        "index": (
            "encoder",
            "encoder_kind",
            "doc_prompt",
            "pooling",
            "truncate_dim",
            "normalize",
            "max_length",
            "batch_size",
            "device",
            "dtype",
            "runtime",
            "trust_remote_code",
            "vectors",
            "ann",
            *_OF_SERVERS,
            "trust_anyway",
        ),
        "retrieve": (
            *_OF_SERVERS,
            "encoder",
            "query_prompt",
            "batch_size",
            "device",
            "trust_remote_code",
            "ann",
        ),
    },
    by_name=OF_QUERIES,
    places=(VECTORS_PLACE, ANN_PLACE),
    searches_among=True,
    children=_children,
    counts=lambda names: {"encoders": list(names)},
)
