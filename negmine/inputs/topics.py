"""TREC topics as queries: the classic tagged text, and XML.

Of a classic file, ``<num>`` is the id and ``<title>`` the query; of an XML file, the attribute
``number`` (or an element ``num``) and ``<title>``, ``<query>``, ``<question>`` or the topic's own
text. ``--column text=desc`` takes another field. White space is one blank; an id stays as it is
written (``051`` is not ``51``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from xml.parsers import expat

from negmine.errors import InvalidDataError
from negmine.inputs import limits
from negmine.inputs.chunks import MISSING, Chunk, resolve
from negmine.inputs.columns import Columns
from negmine.inputs.delimited import tsv_chunks
from negmine.inputs.kinds import QUERIES_SCHEMA, Input, Target
from negmine.inputs.lines import Text, blocks, line_blocks, line_text, open_bytes
from negmine.inputs.problems import Problems
from negmine.inputs.suspects import settle

#: Suffixes of topics; ``.txt`` and ``.trec`` may also be lines of fields.
SUFFIXES = (".xml", ".topics", ".sgml", ".sgm")
EITHER_SUFFIXES = (".txt", ".trec")

_TOPICS = Input(
    "queries",
    QUERIES_SCHEMA,
    (
        Target("qid", "id", ("num", "number", "qid", "id", "topic", "query_id")),
        Target("text", "text", ("title", "query", "text", "question")),
    ),
)
_OPEN = re.compile(r"\s*<top(\s[^<>]*)?>", re.IGNORECASE)
_CLOSE = re.compile(r"</top\s*>\s*$", re.IGNORECASE)
_WRAPPER = re.compile(r"\s*(<[?!/]?[A-Za-z][^<>]*>\s*)*$")
_TAG = re.compile(r"<(/?)([A-Za-z][\w.-]*)([^<>]*)>")
#: What the classic files repeat after a tag.
_LABELS = {
    "num": re.compile(r"(Number|Topic)\s*:"),
    "title": re.compile(r"Topic\s*:"),
    "desc": re.compile(r"Description\s*:"),
    "narr": re.compile(r"Narrative\s*:"),
}
_ENTITY = re.compile("&(amp|lt|gt|quot|apos);")
_ENTITIES = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}

_TOPICS_AT_ONCE = 256

#: One topic: its line, and its fields; a field that occurs twice has two texts.
_Topic = tuple[int, dict[str, list[str]]]


def topic_chunks(
    kind: Input,
    text: Text,
    columns: Columns,
    problems: Problems,
) -> Iterator[Chunk]:
    """Topics; the first one decides which field is which."""
    head = _head(text)
    if re.match(rb"<top[\s>]", head, re.IGNORECASE) or not head:
        topics = _tagged(text, problems)
    else:
        topics = _xml(text)
    kept = tuple(target for target in kind.targets if target.kind == "kept")
    wanted = replace(_TOPICS, targets=(*_TOPICS.targets, *kept))
    sources: dict[str, str] | None = None
    while some := list(islice(topics, min(_TOPICS_AT_ONCE, limits.MAX_BATCH_ROWS))):
        if sources is None:
            sources = resolve(wanted, text.name, list(some[0][1]), columns)
            # What else a topic may have is documented, and told by its name.
            settle(wanted, text.name, _names(some), sources, columns, lambda _: ())
        good = []
        for number, fields in some:
            twice = [name for name in sources.values() if len(fields.get(name, ())) > 1]
            if twice:
                problems.report(
                    f"{text.name}:{number}", f"field '{twice[0]}' occurs twice in a topic"
                )
            else:
                good.append((number, fields))
        found = {
            target: [fields[source][0] if source in fields else MISSING for _, fields in good]
            for target, source in sources.items()
        }
        yield Chunk(found, sources, [number for number, _ in good])


def _names(topics: list[_Topic]) -> list[str]:
    """The fields that any of the topics has."""
    return list(dict.fromkeys(name for _, fields in topics for name in fields))


def topic_or_line_chunks(
    kind: Input,
    text: Text,
    columns: Columns,
    problems: Problems,
) -> Iterator[Chunk]:
    """Topics where the file begins with a tag, else lines of fields."""
    make = topic_chunks if _head(text).startswith(b"<") else tsv_chunks
    yield from make(kind, text, columns, problems)


def _head(text: Text) -> bytes:
    """What the file begins with."""
    with open_bytes(text) as stream:
        first = next(blocks(stream, text.file), b"")
    return first.removeprefix(b"\xef\xbb\xbf").lstrip()[:4096]


# --- the classic form ---------------------------------------------------------------------------


def _tagged(text: Text, problems: Problems) -> Iterator[_Topic]:
    """``<top> ... </top>``, a field per tag at the beginning of a line."""
    topic: list[str] | None = None
    begin = size = 0
    for first, lines in line_blocks(text):
        for number, line in enumerate(map(line_text, lines), first):
            where = f"{text.name}:{number}"
            opened = _OPEN.match(line)
            if opened:
                if topic is not None:
                    problems.report(f"{text.name}:{begin}", "a <top> that is not closed by </top>")
                topic, begin, size = [], number, 0
                line = line[opened.end() :]
            if topic is None:
                if not _WRAPPER.match(line):
                    problems.report(where, "text outside of <top> ... </top>")
                continue
            closed = _CLOSE.search(line)
            topic.append(line[: closed.start()] if closed else line)
            size += len(line)
            _bound(size, f"{text.name}:{begin}")
            if closed:
                fields = _fields("\n".join(topic), f"{text.name}:{begin}", problems)
                topic = None
                if fields is not None:
                    yield begin, fields
    if topic is not None:
        problems.report(f"{text.name}:{begin}", "a <top> that is not closed by </top>")


def _fields(text: str, where: str, problems: Problems) -> dict[str, list[str]] | None:
    """The fields of one topic. A tag within a line of an open field is part of its text."""
    found: dict[str, list[str]] = {}
    name: str | None = None
    # Where the open field's text begins, or where the last field ended.
    begin = 0

    def close(end: int) -> None:
        assert name is not None
        plain = " ".join(text[begin:end].split())
        if name in _LABELS:
            plain = (
                _LABELS[name].sub("", plain, count=1).strip()
                if _LABELS[name].match(plain)
                else plain
            )
        plain = _ENTITY.sub(lambda entity: _ENTITIES[entity[1]], plain)
        found.setdefault(name, []).append(plain)

    for tag in _TAG.finditer(text):
        closing, tagged = bool(tag[1]), tag[2].lower()
        line_start = not text[text.rfind("\n", 0, tag.start()) + 1 : tag.start()].strip()
        if name is not None and (tagged == name if closing else line_start):
            close(tag.start())
            name = None if closing else tagged
        elif name is not None:
            continue
        elif closing or text[begin : tag.start()].strip():
            break
        else:
            name = tagged
        begin = tag.end()
    else:
        if name is not None:
            close(len(text))
            return found
        if not text[begin:].strip():
            return found
    problems.report(where, "the topic has text outside of its fields")
    return None


def _bound(size: int, where: str) -> None:
    if size > limits.MAX_LINE_BYTES:
        raise InvalidDataError(
            f"a topic is longer than {limits.MAX_LINE_BYTES:,} characters",
            where=where,
            hint="Each topic must end.",
        )


# --- XML ------------------------------------------------------------------------------------------


class _Collector:
    """Gathers the topics of an XML stream as expat tells of it."""

    def __init__(self, text: Text) -> None:
        self.name = text.name
        # What was decoded is UTF-8, whatever the file says of itself.
        self.parser = expat.ParserCreate(None if text.encoding == "utf-8" else "utf-8")
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.EntityDeclHandler = self._refuse
        self.done: list[_Topic] = []
        self.depth = 0
        self.size = 0
        self.fields: dict[str, list[str]] | None = None
        #: Text of the topic itself (0) and of the element in it that is open (1).
        self.parts: dict[int, list[str]] = {}
        self.whole: list[str] = []
        self.line = 0

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if self.fields is None:
            if name.lower() in ("topic", "top"):
                self.fields = {key.lower(): [value] for key, value in attributes.items()}
                self.depth = self.size = 0
                self.line = self.parser.CurrentLineNumber
                self.parts, self.whole = {0: []}, []
            return
        self.depth += 1
        if self.depth == 1:
            self.parts[1] = []

    def _end(self, name: str) -> None:
        if self.fields is None:
            return
        if self.depth == 1:
            self.fields.setdefault(name.lower(), []).append(_joined(self.parts[1]))
        elif self.depth == 0:
            if _joined(self.parts[0]) and "text" not in self.fields:
                # A topic that is running text: with the words of the elements in it.
                self.fields["text"] = [_joined(self.whole)]
            self.done.append((self.line, self.fields))
            self.fields = None
            return
        self.depth -= 1

    def _text(self, text: str) -> None:
        if self.fields is not None:
            self.parts[min(self.depth, 1)].append(text)
            self.whole.append(text)
            self.size += len(text)
            _bound(self.size, f"{self.name}:{self.line}")

    def _refuse(self, name: str, *_: object) -> None:
        raise InvalidDataError(
            f"it declares the entity '{name}': such files are not read",
            where=f"{self.name}:{self.parser.CurrentLineNumber}",
            hint="Write the text itself in place of the entity.",
        )

    def feed(self, data: bytes, last: bool = False) -> list[_Topic]:
        try:
            self.parser.Parse(data, last)
        except (expat.ExpatError, ValueError) as error:
            line = getattr(error, "lineno", self.parser.CurrentLineNumber)
            raise InvalidDataError(
                f"not well-formed XML: {error}",
                where=f"{self.name}:{line}",
                hint="Topics are <topic number=...> elements in one root element, or <top> blocks.",
            ) from None
        found, self.done = self.done, []
        return found


def _xml(text: Text) -> Iterator[_Topic]:
    """``<topic>`` elements, or ``<top>``, anywhere in an XML document."""
    collector = _Collector(text)
    count = 0
    with open_bytes(text) as stream:
        for block in blocks(stream, text.file):
            for topic in collector.feed(block):
                count += 1
                yield topic
    yield from (last := collector.feed(b"", last=True))
    if count + len(last) == 0:
        raise InvalidDataError("no <topic> in this file", where=text.name)


def _joined(parts: list[str]) -> str:
    return " ".join("".join(parts).split())
