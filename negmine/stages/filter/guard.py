"""What ``filter`` asks of texts, vectors and other queries: a mask per rule for every part.

Texts are fetched for several parts at a time, as many as fit a fixed budget, so that the corpus is
read seldom and memory stays bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine import log
from negmine.dedup import copies, minhash
from negmine.dedup.normal import normalise
from negmine.dedup.signatures import Signatures, outdated
from negmine.errors import MissingInputError, UsageError
from negmine.learning.summaries import Summaries
from negmine.params.filter import FilterParams
from negmine.rules.identity import BARRED, BETWEEN, CONTENT, COPIES, KNOWN_COPIES
from negmine.sources.vectors import pair_cosines
from negmine.stages.filter import contents, differing, surveying
from negmine.stages.filter.own_documents import SameIds
from negmine.stages.filter.relabelling import Flags, Relabelled
from negmine.stages.filter.surveying import Survey
from negmine.table import joins, ranking
from negmine.table.candidates import Candidates
from negmine.table.documents import Documents
from negmine.table.draws import digests, digests_of
from negmine.table.joins import distinct
from negmine.table.names import score_column
from negmine.table.part import Part

#: Gives the part the labels that count, by what is said of its rows before any of them changes.
Label = Callable[[pa.Table, Flags], Relabelled]
Flagged = tuple[str, pa.Table, dict[str, np.ndarray]]


@dataclass(frozen=True)
class _Group:
    """Parts that are asked about together.

    Attributes:
        parts: the parts.
        rows: per part, each row's document as a row of what follows.
        features: of their distinct documents, :data:`negmine.dedup.signatures.ROW`; None where no
            setting asks for texts.
        bands: their :func:`negmine.dedup.copies.bands`; None where no setting asks.
        parents: a code per document's value of ``--sibling-by``, -1 = none; None where no
            setting asks.
        asked: per part, its queries' ids and the digests of their normalised texts; of no part
            where no setting asks.
        held: what their texts hold; None where no setting asks.
    """

    parts: list[joins.NamedTable]
    rows: list[np.ndarray]
    features: np.ndarray | None = None
    bands: copies.Bands | None = None
    parents: np.ndarray | None = None
    asked: Mapping[str, tuple[pa.Array, np.ndarray]] = field(default_factory=dict)
    held: contents.Held | None = None


class Guard:
    """Answers for the parts of one scored artifact.

    Args:
        params: which answers are wanted.
        source: the scored artifact.
        at_once: bytes of the parts, and of their texts or features, that are held together.

    Raises:
        UsageError: vectors are asked for that the candidates were not retrieved with, or a
            column that the index did not keep.
    """

    def __init__(self, params: FilterParams, source: Candidates, at_once: int) -> None:
        self._params = params
        self.at_once = at_once
        self._source = source
        self._asks = params.query_text or params.own_document != "off"
        self._texts = compares_texts(params)
        self._contents = contents.wanted(params)
        contents.check(params, source)
        self._excluded: pa.Array | None = None
        self._cosines = _cosines(params.near_duplicate_cosine)
        if params.sibling_by is not None:
            joins.check(params.sibling_by, source.documents, "--sibling-by")
        self._vectors = {
            name: source.unit_vectors(name)
            for name in (*self._cosines, *params.closer_than_positive)
        }

    def survey(self, summaries: Summaries) -> None:
        """Find out what must be known of all parts, with others who go over them."""
        self._survey = surveying.survey(self._params, self._source, summaries)

    def flags(self, parts: Iterable[joins.NamedTable], label: Label) -> Iterator[Flagged]:
        """The masks of each part, in order.

        Args:
            parts: name and part.
            label: gives a part the labels that count.
        """
        params = self._params
        if params.exclude is not None and self._excluded is None:
            self._excluded = _listed(params.exclude)
        for group in self._groups(parts):
            for (name, table), row in zip(group.parts, group.rows, strict=True):
                before = self._before(name, table, group, row)
                flags = self._part(name, label(table, before), group, row)
                yield name, table, {**flags, **before}

    def _before(
        self, name: str, table: pa.Table, group: _Group, row: np.ndarray
    ) -> dict[str, np.ndarray]:
        """What is said of rows with the labels that they came with."""
        found = {BARRED: self._barred(name, table, group, row)}
        if not self._params.promote or group.features is None:
            return found
        part, params, features = Part(table), self._params, group.features
        copies_of_known = np.zeros(len(part), dtype=bool)
        content = _content(features)[row]
        if params.same_text:
            # Without the rule a copy of the promoted one would stay a negative.
            found[CONTENT] = content
            copies_of_known |= _same_text(part, content, group, row)
        if params.near_duplicates:
            copies_of_known |= self._near(part, group, row)
        return {**found, KNOWN_COPIES: copies_of_known}

    def _part(
        self, name: str, labelled: Relabelled, group: _Group, row: np.ndarray
    ) -> dict[str, np.ndarray]:
        params = self._params
        table = labelled.guarded
        qids, part = table.column("qid"), Part(table)
        query, positive = part.query, part.positive
        found = {BETWEEN: self._between(table, positive)}
        if group.features is not None:
            found.update(self._text_flags(name, part, group, row))
        if params.chunk_suffix is not None:
            try:
                found["sibling"] = minhash.siblings(
                    query, positive, table.column("docid"), params.chunk_suffix
                )
            except pa.ArrowInvalid as error:
                raise UsageError(f"--chunk-suffix is no regular expression: {error}") from error
        if group.held is not None:
            asked_of = self._source.queries(name)
            masks = contents.flags(group.held, asked_of, part.qids, query, row, params)
            found.update({rule: mask & ~positive for rule, mask in masks.items()})
        if group.parents is not None:
            shared = minhash.sharing(query, positive, group.parents[row])
            found["sibling"] = shared | found.get("sibling", False)
        if (duplicates := self._survey.duplicates) is not None:
            # By part: a set of all queries would be hashed again for every one.
            cluster = duplicates.clusters(name, qids)
            asked_twice = np.flatnonzero(~positive & (cluster >= 0))
            docids = table.column("docid").take(pa.array(asked_twice))
            keys = minhash.pair_keys(cluster[asked_twice], digests_of(docids))
            found["duplicate_query"] = np.zeros(len(query), dtype=bool)
            _, known = ranking.find(duplicates.keys, keys)
            found["duplicate_query"][asked_twice[known]] = True
        if params.same_cluster:
            found["same_cluster"] = _of_positives_clusters(part, params.same_cluster)
        if self._excluded is not None:
            inside = pc.is_in(table.column("docid"), value_set=self._excluded)
            found["excluded"] = ~positive & inside.to_numpy(zero_copy_only=False)
        if self._cosines or params.closer_than_positive:
            found.update(self._vector_flags(part, Part(labelled.compared)))
        return found

    def _barred(self, name: str, table: pa.Table, group: _Group, row: np.ndarray) -> np.ndarray:
        """Rows that may become no positives, whatever their score.

        The query's own document or text, what has no text, and what is excluded.
        """
        barred = np.zeros(table.num_rows, dtype=bool)
        if self._params.pseudo_positive is None and not self._params.promote:
            return barred
        if self._excluded is not None:
            inside = pc.is_in(table.column("docid"), value_set=self._excluded)
            barred |= inside.to_numpy(zero_copy_only=False)
        if group.features is not None:
            content = _content(group.features)[row]
            barred |= content == 0
            if self._asks:
                text, own = self._own(name, table, group, row, content)
                barred |= text | own
        return barred

    def _own(
        self, name: str, table: pa.Table, group: _Group, row: np.ndarray, content: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows whose text is their query's, and others that are the query's own document."""
        assert group.features is not None
        told = content != 0
        asked, digest = group.asked[name]
        own = digest[pc.index_in(table.column("qid"), value_set=asked).to_numpy()]
        bare = told & (own == group.features["untitled"][row]) & (own != content)
        return told & (own == content), bare | self._of_own_id(table)

    def _between(self, table: pa.Table, positive: np.ndarray) -> np.ndarray:
        """Rows judged neither relevant nor not: above one grade and below the other."""
        grade = table.column("grade")
        judged = ~positive & grade.is_valid().to_numpy()
        if not judged.any():
            return judged
        above = pc.fill_null(pc.greater(grade, self._source.negative_grade), False)
        return np.asarray(judged & above.to_numpy(), dtype=bool)

    def _text_flags(
        self, name: str, part: Part, group: _Group, row: np.ndarray
    ) -> dict[str, np.ndarray]:
        """What the texts of a part's documents say."""
        params, features = self._params, group.features
        assert features is not None
        query, positive = part.query, part.positive
        content = _content(features)[row]
        told = content != 0
        found: dict[str, np.ndarray] = {}
        if params.empty_texts:
            found["empty_text"] = ~told & ~positive
        if params.same_text:
            found["same_text"] = told & _same_text(part, content, group, row)
        if self._asks:
            text, own = self._own(name, part.table, group, row, content)
            found["query_text"], found["own_document"] = text & ~positive, own & ~positive
        # Of minimal pairs only what is the same counts: they are near a positive on purpose.
        apart = self._near_on_purpose(part.table)
        if params.near_duplicates:
            found["near_duplicate"] = ~apart & self._near(part, group, row)
        if group.bands is not None:
            found[COPIES] = copies.groups(
                query,
                ~positive & ~apart,
                row,
                features["signature"],
                group.bands,
                params.near_duplicate_at,
            )
        return found

    def _near(self, part: Part, group: _Group, row: np.ndarray) -> np.ndarray:
        """Near-duplicates of a part's positives."""
        assert group.features is not None
        at = self._params.near_duplicate_at
        return minhash.near_duplicate(
            part.query,
            part.positive,
            row,
            group.features["size"],
            group.features["signature"],
            at,
            _family(group, row) if copies.families_tell(at) else None,
        )

    def _near_on_purpose(self, table: pa.Table) -> np.ndarray:
        """Rows whose document was made to be near a positive, and to say something else."""
        ids = self._source.near_on_purpose if self._source.written else None
        if ids is None or not len(ids):
            return np.zeros(table.num_rows, dtype=bool)
        inside = pc.is_in(table.column("docid"), value_set=ids)
        return np.asarray(inside.to_numpy(), dtype=bool)

    def _of_own_id(self, table: pa.Table) -> np.ndarray:
        """Rows whose document bears the query's id, where that means something."""
        same = self.same_ids
        if self._params.own_document != "id" and (same is None or not same.believed):
            return np.zeros(table.num_rows, dtype=bool)
        mask = pc.equal(table.column("qid"), table.column("docid"))
        return np.asarray(mask.to_numpy(), dtype=bool)

    @property
    def same_ids(self) -> SameIds | None:
        """What candidates of their query's id are, where a setting asks."""
        return self._survey.same_ids

    # --- texts --------------------------------------------------------------------------------

    def _groups(self, parts: Iterable[joins.NamedTable]) -> Iterator[_Group]:
        """Parts whose documents are looked up together, as many as memory allows."""
        if not (self._texts or self._contents) and self._params.sibling_by is None:
            for part in parts:
                yield _Group([part], [np.empty(0, dtype=np.int64)])
            return
        documents = self._source.documents
        if outdated(documents.artifact):
            log.event(
                "the index's signatures are of another version of negmine: this filter describes "
                "the texts anew (run negmine index again, it makes them once)"
            )
        signatures = Signatures(documents)
        # Bands are about as large as what they are made of.
        at_once = signatures.fitting(self.at_once // (1 + self._params.repeated_texts))
        if self._contents:
            at_once = min(at_once, contents.fitting(documents, self.at_once))
        group: list[joins.NamedTable] = []
        # At most so many documents: counted only when rows alone could exceed what fits, and then
        # seldom again, because a group that is more than half full is closed.
        size = held = counted = 0
        known = pa.array([], pa.string())
        for part in parts:
            more = part[1].num_rows
            full = size + part[1].nbytes > self.at_once
            if group and not full and held + more > at_once:
                new = [table.column("docid") for _, table in group[counted:]]
                known, counted = distinct([known, *new])[0], len(group)
                held = len(known)
                full = held > at_once // 2 or held + more > at_once
            if group and full:
                yield self._group(group, documents, signatures)
                group, size, held, counted, known = [], 0, 0, 0, known[:0]
            group.append(part)
            size += part[1].nbytes
            held += more
        if group:
            yield self._group(group, documents, signatures)

    def _group(
        self, parts: list[joins.NamedTable], documents: Documents, signatures: Signatures
    ) -> _Group:
        docids, rows = distinct([table.column("docid") for _, table in parts])
        features = signatures.take(docids) if self._texts else None
        parents = None
        if self._params.sibling_by is not None:
            values = documents.values(self._params.sibling_by, docids).dictionary_encode()
            parents = pc.fill_null(values.indices, -1).to_numpy().astype(np.int64)
        asked = self._asked([name for name, _ in parts]) if self._asks else {}
        held = contents.held(documents, docids, self._params) if self._contents else None
        group = _Group(parts, rows, features, parents=parents, asked=asked, held=held)
        if features is None or not self._params.repeated_texts:
            return group
        return replace(group, bands=copies.bands(features["signature"]))

    def _asked(self, names: list[str]) -> dict[str, tuple[pa.Array, np.ndarray]]:
        """Of each part, the ids of its queries and the digests of their normalised texts."""
        queries = [self._source.queries(name) for name in names]
        texts = pa.chunked_array([c for q in queries for c in q.column("text").chunks], pa.string())
        # All at once: preparing the regular expression takes longer than the texts of a part.
        own = digests(normalise(texts.combine_chunks()).texts)
        stops = np.cumsum([len(asked) for asked in queries])
        return {
            name: (asked.column("qid").combine_chunks(), part)
            for name, asked, part in zip(names, queries, np.split(own, stops[:-1]), strict=True)
        }

    @cached_property
    def _survey(self) -> Survey:
        """What must be known of all parts before the first of them is looked at."""
        return surveying.survey(self._params, self._source, Summaries(self._source.parts))

    # --- vectors ------------------------------------------------------------------------------

    def _vector_flags(self, part: Part, limits: Part) -> dict[str, np.ndarray]:
        """Cosines with the positives of each row's query, compared.

        Args:
            part: the rows, labels as they count for what is the same.
            limits: the rows, labels as limits compare with them.
        """
        found: dict[str, np.ndarray] = {}
        query, positive = part.query, part.positive
        row = self._source.documents.rows(part.table.column("docid").combine_chunks())
        left, right = minhash.positive_pairs(query, positive)
        if self._cosines:
            near = np.zeros(len(query), dtype=bool)
            for name, at in self._cosines.items():
                cosine = pair_cosines(self._vectors[name], row, left, right)
                near[left[cosine >= at]] = True
            found["near_duplicate_cosine"] = near
        names = self._params.closer_than_positive
        if names:
            # Concatenated vectors of length 1 have the mean of the cosines.
            asked = np.mean([part.score(name) for name in names], axis=0)
            left, right = minhash.positive_pairs(query, limits.positive)
            between = np.mean(
                [pair_cosines(self._vectors[n], row, left, right) for n in names], axis=0
            )
            found["closer_than_positive"] = _not_closer(limits, asked, left, right, between)
        return found


def _family(group: _Group, row: np.ndarray) -> np.ndarray | None:
    """The family of each row's text, where they are known."""
    return None if group.bands is None else group.bands.family[row]


def _same_text(part: Part, content: np.ndarray, group: _Group, row: np.ndarray) -> np.ndarray:
    """Rows whose text is that of a positive of their query: such share all bands."""
    return minhash.same_text(part.query, part.positive, content, _family(group, row))


def _content(features: np.ndarray) -> np.ndarray:
    """The digest of each document's text, 0 where nothing is left of it."""
    return np.where(features["size"] > 0, features["content"], 0)


def _of_positives_clusters(part: Part, names: Sequence[str]) -> np.ndarray:
    """Rows that are in a cluster with a positive of their query, by any of these sources."""
    found = np.zeros(len(part), dtype=bool)
    for name in names:
        cluster = differing.cluster(part.table, name)
        found |= minhash.sharing(part.query, part.positive, cluster)
    return found


def _not_closer(
    part: Part, asked: np.ndarray, left: np.ndarray, right: np.ndarray, between: np.ndarray
) -> np.ndarray:
    """Rows that fail ``dist(q,d) < dist(q,d+)`` and ``dist(q,d) < dist(d+,d)``, cosine distances.

    Hard Negative Mining for Domain-Specific Retrieval (arXiv 2505.18366). Of several positives
    the one farthest from the query counts. Its PCA of six encoders' vectors is left out: the
    vectors are compared whole. A row or positive that an encoder did not score fails.

    Args:
        part: the rows.
        asked: cosine of each row with its query.
        left: rows that are compared with a positive.
        right: the positives' rows.
        between: cosine of each such pair.
    """
    farthest = part.positive_score(asked, "min")
    kept = np.zeros(len(part), dtype=bool)
    counts = asked[right] == farthest[left]
    both = counts & (asked[left] > farthest[left]) & (asked[left] > between)
    kept[left[both]] = True
    return ~part.positive & ~kept


def compares_texts(params: FilterParams) -> bool:
    """Whether a setting asks for the features of texts."""
    of_queries = params.query_text or params.own_document != "off"
    of_each = params.empty_texts or params.same_text
    return of_queries or of_each or params.near_duplicates or params.repeated_texts


def _cosines(entries: Sequence[str]) -> dict[str, float]:
    """The threshold of each of the index's vectors; one has two names, with and without score_."""
    found: dict[str, float] = {}
    for name, number in map(_cosine, entries):
        if name in found:
            raise UsageError(f"--near-duplicate-cosine names '{name}' twice", hint="Name it once.")
        found[name] = number
    return found


def _cosine(entry: str) -> tuple[str, float]:
    """``NAME=COSINE``."""
    name, separator, value = entry.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = np.nan
    if not separator or np.isnan(number):
        raise UsageError(
            f"--near-duplicate-cosine {entry!r} is not NAME=COSINE",
            hint="For example: --near-duplicate-cosine minilm=0.97",
        )
    return name.removeprefix(score_column("")), number


def excluded_file(path: str) -> Path:
    """The file behind ``--exclude``: a list, or qrels (of a folder or ``FOLDER:SPLIT``, too).

    Raises:
        MissingInputError: there is none.
    """
    # The readers are forty modules, and only --exclude asks for one.
    from negmine.inputs import input_file
    from negmine.inputs.specs import opened

    place, selection = opened(path)
    if selection is not None or place.is_dir():
        return input_file(path, "qrels")
    if not Path(path).is_file():
        raise MissingInputError("no such file", where=path, hint="Check --exclude.")
    return Path(path)


def _listed(path: str) -> pa.Array:
    """The docids of a plain list, one per line, or of all judgements of a qrels file."""
    file = excluded_file(path)
    try:
        with file.open(encoding="utf-8") as lines:
            plain = file.suffix not in (".jsonl", ".csv", ".parquet", ".arrow") and not any(
                len(line.split()) > 1 for line, _ in zip(lines, range(2), strict=False)
            )
        if plain:
            ids = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
            return pa.array([docid for docid in ids if docid], pa.string())
    except UnicodeDecodeError:
        pass
    from negmine.inputs import Columns, Problems, read_qrels

    # Their documents are all that counts, so no column beside them can matter.
    columns = Columns(strict=False)
    found = [batch.column("docid") for batch in read_qrels(path, columns, Problems("fail"))]
    return pa.chunked_array(found, pa.string()).combine_chunks().unique()
