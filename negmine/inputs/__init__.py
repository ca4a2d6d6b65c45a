"""The users' files as Arrow record batches: streamed, bounded in memory, every error exact.

Which layouts there are, and how each is recognised, is told in ``docs/inputs.md``. A spec, as a
user writes it, is a path, ``-``, a pattern, a URL or ``ir_datasets:ID``; an input is one or more.
:mod:`.places` opens it, :mod:`.specs` and :mod:`.folders` find its files and :mod:`.layouts` their
format by its name, :mod:`.wrappings` and :mod:`.dialects` look whether it is that, a module per
format gives chunks of raw values, and :mod:`.values` checks them and makes record batches.

What a record may hold:

* An id is a string or an integer (``7`` is ``"7"``). A JSON or Parquet float counts where its value
  is integral and exact (``3.0`` is ``"3"``: what pandas makes of integers next to a null); the
  text ``3.0`` in a CSV file stays as it is. Spaces are kept. An empty id, one with a NUL, a null, a
  boolean, a list or an object is an error.
* A text is a string, possibly empty. A missing ``title``, or one that is null or NaN, is ``""``.
* Documents without a column of ids have them made from their contents.
* A grade is an integer, or a decimal with an integral value (``1.0``).
* A score is a finite number.
* A kept column holds strings, numbers or booleans, all told as strings (``7`` and ``7.0`` are
  ``"7"``, true is ``"true"``). A missing, null or empty value is null.

CSV follows RFC 4180, with any delimiter that the header shows. Quotes in TSV are characters like
any other, as in MS MARCO and BEIR, unless the first of them show that they enclose fields
(:mod:`.quoting`). Both need a header line, or one of the layouts that are known without
(:mod:`.headerless`), and as many fields in every record.
JSON, in lines, in an array or over several lines (:mod:`.json_values`), takes its columns from the
first record. Blank lines are skipped, but counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from negmine.inputs.columns import Account, Columns
from negmine.inputs.dispatch import read
from negmine.inputs.examples import read_examples
from negmine.inputs.grades import Grades
from negmine.inputs.kinds import (
    CORPUS,
    CORPUS_SCHEMA,
    EXAMPLES_SCHEMA,
    PAIRS,
    PAIRS_SCHEMA,
    QRELS,
    QRELS_SCHEMA,
    QUERIES,
    QUERIES_SCHEMA,
    RUN,
    RUN_SCHEMA,
    keeping,
)
from negmine.inputs.origins import Origin, origin
from negmine.inputs.problems import Problems
from negmine.inputs.sets.base import Reading
from negmine.inputs.specs import Specs, input_file

__all__ = [
    "CORPUS_SCHEMA",
    "EXAMPLES_SCHEMA",
    "PAIRS_SCHEMA",
    "QRELS_SCHEMA",
    "QUERIES_SCHEMA",
    "RUN_SCHEMA",
    "Account",
    "Columns",
    "Grades",
    "Origin",
    "Problems",
    "Reading",
    "Specs",
    "input_file",
    "origin",
    "read_corpus",
    "read_examples",
    "read_pairs",
    "read_qrels",
    "read_queries",
    "read_run",
]


def read_corpus(
    specs: Specs, columns: Mapping[str, str], problems: Problems, keep: Sequence[str] = ()
) -> Iterator[pa.RecordBatch]:
    """The documents of ``specs``: ``docid``, ``title`` (``""`` where absent) and ``text``.

    Args:
        specs: a file, ``-``, a directory that holds ``corpus.*``, ...; or several, which are read
            one after another.
        columns: target to source column, for files that use other names; as :class:`Columns`
            also what is ignored, with an account of every column.
        problems: told of every bad record.
        keep: further columns to read, each into ``meta_COLUMN``.
    """
    return read(keeping(CORPUS, keep), specs, columns, problems)


def read_queries(
    specs: Specs, columns: Mapping[str, str], problems: Problems, keep: Sequence[str] = ()
) -> Iterator[pa.RecordBatch]:
    """The queries of ``specs``: ``qid`` and ``text``; see :func:`read_corpus`."""
    return read(keeping(QUERIES, keep), specs, columns, problems)


def read_qrels(
    specs: Specs, columns: Mapping[str, str], problems: Problems, grades: Grades | None = None
) -> Iterator[pa.RecordBatch]:
    """The judgements of ``specs``: ``qid``, ``docid`` and ``grade`` (1 without such a column).

    ``grades`` is what the user says of words and numbers that are no grades by themselves.

    Without a header line, the four columns of TREC are recognised (``qid 0 docid grade``, tabs or
    spaces) in ``.tsv``, ``.txt``, ``.trec`` and ``.qrels`` files: the first line has exactly four
    fields, the last one an integer, and ``columns`` is empty. In a directory they are ``qrels.*``
    or the only file in ``qrels/``: where that holds several splits one has to be named, as test
    queries do not belong in a training set.
    """
    return read(QRELS, specs, columns, problems, grades)


def read_run(path: str, columns: Mapping[str, str], problems: Problems) -> Iterator[pa.RecordBatch]:
    """A retrieval run: ``qid``, ``docid`` and ``score``.

    Without a header line, the six columns of TREC (``qid Q0 docid rank score tag``, tabs or spaces)
    are recognised as :func:`read_qrels` recognises its four.
    """
    return read(RUN, path, columns, problems)


def read_pairs(
    specs: Specs, columns: Mapping[str, str], problems: Problems
) -> Iterator[pa.RecordBatch]:
    """The training pairs of ``specs``: ``query`` and ``positive``.

    A JSON or Parquet list of positives gives one row each; an empty list is an error.
    """
    return read(PAIRS, specs, columns, problems)
