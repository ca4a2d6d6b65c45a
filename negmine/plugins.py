"""What other packages add: formats, rules, scorers and sources, found by their entry points.

A package names its objects in the entry-point group of their kind; nothing is imported before it is
asked for. An object's package and version decide the content of an artifact, so they are part of
its fingerprint.
"""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from typing import Any, Literal

from negmine.errors import MissingDependencyError, UsageError, did_you_mean

Kind = Literal["format", "rule", "scorer", "source"]

#: Kind -> entry-point group.
GROUPS: dict[Kind, str] = {
    "format": "negmine.formats",
    "rule": "negmine.rules",
    "scorer": "negmine.scorers",
    "source": "negmine.sources",
}
#: How a scorer or a source that comes from a plug-in is written.
SCHEME = "plugin"
PREFIX = f"{SCHEME}:"


@dataclass(frozen=True)
class Plugin:
    """An object of another package.

    Attributes:
        kind: what it is.
        name: its name in the group.
        value: ``module:object``.
        package: the package that brings it.
        version: that package's version.
    """

    kind: Kind
    name: str
    value: str
    package: str
    version: str

    @property
    def identity(self) -> str:
        """What stands for its code in a fingerprint."""
        return f"{self.package}=={self.version} {self.value}"

    def load(self) -> Any:
        """Import the object.

        Raises:
            MissingDependencyError: its package does not import, or has no such object.
        """
        try:
            return _point(self.kind, self.name).load()
        # A plug-in can fail in any way: whichever it is, the user needs to know whose it is.
        except Exception as error:
            raise MissingDependencyError(
                f"the {self.kind} '{self.name}' cannot be loaded: {type(error).__name__}: {error}",
                where=self.value,
                hint=f"It is a plug-in of {self.package} {self.version}: install or mend that.",
            ) from error


def installed(kind: Kind) -> dict[str, Plugin]:
    """The plug-ins of a kind, by name."""
    found = {}
    for point in importlib.metadata.entry_points(group=GROUPS[kind]):
        package = point.dist.name if point.dist is not None else "?"
        version = point.dist.version if point.dist is not None else "?"
        found[point.name] = Plugin(kind, point.name, point.value, package, version)
    return found


def find(kind: Kind, name: str, option: str) -> Plugin:
    """The plug-in called ``name``.

    Raises:
        UsageError: no installed package has one.
    """
    known = installed(kind)
    if name not in known:
        raise UsageError(
            f"{option}: no installed package brings a {kind} '{name}'",
            hint=did_you_mean(name, known),
        )
    return known[name]


def parse(kind: Kind, spec: str, option: str) -> tuple[Plugin, str | None]:
    """The plug-in and its argument in ``plugin:NAME`` or ``plugin:NAME/ARGUMENT``.

    Raises:
        UsageError: no installed package has one.
    """
    name, _, argument = spec.removeprefix(PREFIX).partition("/")
    return find(kind, name, option), argument or None


def _point(kind: Kind, name: str) -> importlib.metadata.EntryPoint:
    return next(iter(importlib.metadata.entry_points(group=GROUPS[kind], name=name)))
