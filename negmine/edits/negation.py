"""A negation taken out of a sentence, or put into it."""

from __future__ import annotations

import re

from negmine.edits.base import Edit, Passage
from negmine.edits.names import Names

_BE = "am|is|are|was|were"
_MODAL = "could|will|would|shall|should|may|might|must"
_AUXILIARY = f"{_BE}|{_MODAL}|can|be|been|has|have|had|do|does|did"
#: Participles after "has" that do not end in -ed.
_PARTICIPLES = (
    "been|become|begun|brought|built|come|done|driven|fallen|found|given|gone|grown|had|held|kept|"
    "known|led|left|lost|made|met|proven|put|risen|run|seen|sent|set|shown|spoken|taken|thought|"
    "told|understood|undergone|won|written"
)
_NEGATED = re.compile(
    r"\b(?:not|no|never|none|neither|nor|nothing|nobody|without|cannot|hardly)\b|n['’]t\b"
)
#: (what is there, what stands in its place), the likeliest first. "Not only" denies nothing.
_REMOVED = (
    (rf"\b({_AUXILIARY})\s+not\b(?!\s+(?:only|just|necessarily)\b)", r"\1"),
    (r"\b(can)not\b(?!\s+only\b)", r"\1"),
    (r"\b(can)['’]t\b", r"\1"),
    (r"\bwon['’]t\b", "will"),
    (r"\b(is|are|was|were|has|have|had|could|would|should|do|does|did)n['’]t\b", r"\1"),
    (r"\bno longer\b", "still"),
    (r"\bwithout\b", "with"),
    (r"\bnever\b", "always"),
)
_INSERTED = (
    (rf"\b({_BE})\b(?=\s+\w)", r"\1 not"),
    (rf"\b({_MODAL})\b(?=\s+[a-z])", r"\1 not"),
    (r"\bcan\b(?=\s+[a-z])", "cannot"),
    (rf"\b(has|have|had)\b(?=\s+(?:\w+ly\s+)?(?:\w+ed|{_PARTICIPLES})\b)", r"\1 not"),
)


def edits(passage: Passage, sentence: slice, names: Names) -> list[Edit]:
    """The first negation of a sentence taken out, or one put in where it has none.

    None for a question, or where no auxiliary verb takes it: a verb's forms are not guessed.
    """
    text = passage.text[sentence]
    if text.rstrip().endswith("?"):
        return []
    rules = _REMOVED if _NEGATED.search(text) else _INSERTED
    found = []
    for pattern, after in rules:
        match = re.search(pattern, text)
        if match is not None:
            found.append((match.start(), match, after))
    if not found:
        return []
    _, match, after = min(found, key=lambda one: one[0])
    first, last = (sentence.start + place for place in match.span())
    return [Edit("negation", ((first, last),), match.group(), match.expand(after))]
