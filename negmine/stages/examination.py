"""Judges are examined on the table that they are to judge, before they are believed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine import log
from negmine.endpoints import probing
from negmine.params.rerank import RerankParams
from negmine.scorers import Scorer
from negmine.scorers.judging import examination
from negmine.scorers.judging.examination import FILLER, POSITIVE, RANDOM, Examined, Sample
from negmine.table.candidates import Candidates
from negmine.table.documents import Documents
from negmine.table.draws import draws, salted

#: What is drawn is the same whenever the same table is judged.
SEED = salted(0, "examination of judges")


@runtime_checkable
class IsExamined(Examined, Protocol):
    """A scorer that is believed only after an examination; other packages' need none."""

    @property
    def documents_at_once(self) -> int:
        """How many documents of a query it is asked about in one call."""


def judges(scorers: Mapping[str, Scorer]) -> dict[str, IsExamined]:
    """Those of the scorers that are examined."""
    return {name: one for name, one in scorers.items() if isinstance(one, IsExamined)}


def examine(
    scorers: Mapping[str, Scorer], draw: Callable[[int], Sample], params: RerankParams
) -> dict[str, dict[str, Any]]:
    """Ask every judge about pairs of which the answer is known, and tell how well it does.

    Args:
        scorers: by name.
        draw: draws the pairs for judges that are asked about so many documents in a call.
        params: how many pairs, and whether a judge is believed anyway.

    Returns:
        What a manifest says of each judge.

    Raises:
        NegmineError: one is not believed; see :func:`negmine.scorers.judging.examination.check`.
    """
    found: dict[str, dict[str, Any]] = {}
    samples: dict[int, Sample] = {}
    for name, judge in judges(scorers).items():
        if not params.examine:
            examination.check(name, None, params.trust_anyway)
            continue
        many = judge.documents_at_once
        if many not in samples:
            samples[many] = draw(many)
        with log.waiting(f"examining the judge '{name}'"):
            done = examination.examine(judge, samples[many])
        found[name] = done.record()
        for line in done.words(name):
            log.event(line, judge=name)
        examination.check(name, found[name], params.trust_anyway)
        if not done.believed:
            log.warn([f"the judge '{name}' is no better than chance, and is believed anyway"])
    return found


def described(
    scorers: Mapping[str, Scorer], examined: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """What a manifest says of scorers, their examinations with them."""
    return {
        name: {
            **scorer.describe(),
            **({"examination": dict(examined[name])} if name in examined else {}),
        }
        for name, scorer in scorers.items()
    }


def check_made(manifest: Mapping[str, Any], params: RerankParams) -> None:
    """See that the judges of a table that is there already may be believed.

    Raises:
        NegmineError: one was not examined, is no better than chance, or failed its probe, and was
            believed anyway by an earlier command.
    """
    for name, described in manifest.get("scorers", {}).items():
        probing.check(name, described.get("probe"), params.trust_anyway)
        if described.get("kind") in _KINDS and params.examine:
            examination.check(name, described.get("examination"), params.trust_anyway)


#: What judges of negmine's own call themselves in a manifest.
_KINDS = ("llm", "causal")


def sample(source: Candidates, size: int, at_once: int) -> Sample:
    """Known positives of different queries, and as many documents at random of the same queries.

    Args:
        source: the table.
        size: how many of each.
        at_once: documents of a query in a call; so many are drawn of it, further candidates too.
    """
    drawn = _positives(source, size)
    qids, docids = [qid for qid, _, _ in drawn], [docid for _, docid, _ in drawn]
    # A query lies in one part: no other has more of it.
    parts = list(dict.fromkeys(part for _, _, part in drawn))
    others = _fillers(source, parts, qids, at_once - 2) if at_once > 2 else {}
    known = _known_positives(source, parts, qids)
    texts = source.query_texts(parts, pa.array(qids, pa.string()))
    return sample_of(
        source.documents,
        [texts[qid] for qid in qids],
        docids,
        [known[qid] for qid in qids],
        [others.get(qid, ()) for qid in qids],
    )


def sample_of(
    documents: Documents,
    queries: Sequence[str],
    positives: Sequence[str],
    known: Sequence[set[str]],
    fillers: Sequence[Sequence[str]] | None = None,
) -> Sample:
    """A sample of positives that were drawn, and of a document at random for each of them.

    Args:
        documents: the corpus.
        queries: texts.
        positives: of each query the one that was drawn.
        known: of each query all its known positives.
        fillers: of each query further documents; None = none.
    """
    drawn = _at_random(documents, known)
    asked: list[tuple[int, str, int]] = []
    for number, docid in enumerate(positives):
        asked.append((number, docid, POSITIVE))
        other = drawn[number]
        if other is not None:
            asked.append((number, other, RANDOM))
        used = {docid, other}
        further = () if fillers is None else fillers[number]
        asked += [(number, one, FILLER) for one in further if one not in used]
    distinct = list(dict.fromkeys(docid for _, docid, _ in asked))
    place = {docid: at for at, docid in enumerate(distinct)}
    pairs = [(number, place[docid]) for number, docid, _ in asked]
    return Sample(
        queries,
        documents.texts(pa.array(distinct, pa.string())).to_pylist(),
        np.array(pairs, dtype=np.int64).reshape(-1, 2),
        np.array([role for _, _, role in asked], dtype=np.int64),
    )


def _positives(source: Candidates, size: int) -> list[tuple[str, str, str]]:
    """A known positive of each of ``size`` queries, all by chance: (qid, docid, its part)."""
    found: list[tuple[float, str, str, str]] = []
    for name in source.parts:
        table = source.read(name, ["qid", "docid", "label"])
        table = table.filter(pc.equal(table.column("label"), 1))
        if not table.num_rows:
            continue
        qids, docids = table.column("qid"), table.column("docid")
        chance = draws(qids, docids, SEED)
        first: dict[str, tuple[float, str, str]] = {}
        for row in zip(chance.tolist(), qids.to_pylist(), docids.to_pylist(), strict=True):
            first[row[1]] = min(row, first.get(row[1], row))
        found = sorted([*found, *((*row, name) for row in first.values())])[:size]
    return [row[1:] for row in found]


def _known_positives(source: Candidates, parts: list[str], qids: list[str]) -> dict[str, set[str]]:
    """All known positives of some queries."""
    found: dict[str, set[str]] = {qid: set() for qid in qids}
    wanted = pa.array(qids, pa.string())
    for name in parts:
        table = source.read(name, ["qid", "docid", "label"])
        mine = pc.and_(
            pc.equal(table.column("label"), 1), pc.is_in(table.column("qid"), value_set=wanted)
        )
        for row in table.filter(mine).select(["qid", "docid"]).to_pylist():
            found[row["qid"]].add(row["docid"])
    return found


def _fillers(
    source: Candidates, parts: list[str], qids: list[str], most: int
) -> dict[str, list[str]]:
    """Candidates of some queries by chance, as they will stand in a call beside others."""
    found: dict[str, list[str]] = {}
    wanted = pa.array(qids, pa.string())
    for name in parts:
        table = source.read(name, ["qid", "docid", "label"])
        mine = pc.and_(
            pc.not_equal(table.column("label"), 1), pc.is_in(table.column("qid"), value_set=wanted)
        )
        some = table.filter(mine)
        if not some.num_rows:
            continue
        chance = draws(some.column("qid"), some.column("docid"), SEED)
        for at in np.argsort(chance, kind="stable").tolist():
            of = found.setdefault(some.column("qid")[at].as_py(), [])
            if len(of) < most:
                of.append(some.column("docid")[at].as_py())
    return found


#: How often a document is drawn anew, where it is a known positive.
_DRAWS = 20


def _at_random(documents: Documents, known: Sequence[set[str]]) -> list[str | None]:
    """For each query a document of the corpus that is none of its known positives, if there is one.

    Args:
        documents: the corpus.
        known: of each query its known positives.
    """
    rng = np.random.default_rng(SEED)
    rows = rng.integers(0, len(documents), (len(known), _DRAWS))
    ids = np.array(documents.ids(rows.ravel()).to_pylist(), dtype=object).reshape(rows.shape)
    return [
        next((docid for docid in some if docid not in mine), None)
        for some, mine in zip(ids.tolist(), known, strict=True)
    ]
