"""Addresses in object stores, and the local folder that stands for each.

``s3://bucket/mined/ledger`` is a path below a folder of this machine's, the *mirror*, as soon as it
is read from a command line or a manifest: from then on it is a path as any other. Which address a
path stands for follows from the path alone, so that a process that is given one needs to be told
nothing. People are shown the address (:func:`shown`).
"""

from __future__ import annotations

import os
import posixpath
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

#: Schemes that are read and written, and what each is called here.
SCHEMES = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
#: Where the mirrors are; where a process keeps files that belong to no artifact.
_MIRRORS, _KEPT = "mirrors", "kept"
# Path() makes one slash of two.
_ADDRESS = re.compile(rf"({'|'.join(SCHEMES)}):/{{1,2}}([^/].*)", re.DOTALL)


@dataclass(frozen=True)
class Address:
    """An object, or a folder of objects.

    Attributes:
        scheme: ``s3`` or ``gs``.
        bucket: its name.
        key: inside the bucket, without a slash at its end; empty of the bucket itself.
    """

    scheme: str
    bucket: str
    key: str = ""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.path}"

    @property
    def path(self) -> str:
        """Bucket and key, as fsspec takes them."""
        return f"{self.bucket}/{self.key}" if self.key else self.bucket

    def child(self, name: str) -> Address:
        """What has this name in it."""
        return Address(self.scheme, self.bucket, f"{self.key}/{name}" if self.key else name)

    def moved(self, folder: Address, to: Address) -> Address:
        """The same in ``to``, of what is in ``folder`` or is ``folder`` itself."""
        return Address(to.scheme, to.bucket, to.key + self.key.removeprefix(folder.key))

    @property
    def parent(self) -> Address:
        """The folder that it lies in; the bucket is its own."""
        return Address(self.scheme, self.bucket, posixpath.dirname(self.key))


def is_address(text: str) -> bool:
    """Whether this names something in an object store."""
    return _ADDRESS.match(text) is not None


def parse(text: str) -> Address:
    """The address that a user names; of a user or a key in it only is kept that there was one."""
    found = _ADDRESS.fullmatch(text)
    assert found is not None
    bucket, _, rest = found[2].partition("/")
    if ":" in bucket or "@" in bucket:
        # A key may have slashes in it, so that nobody knows where it ends.
        return Address(SCHEMES[found[1]], "***@***")
    return Address(SCHEMES[found[1]], bucket, posixpath.normpath(f"/{rest}").strip("/"))


def located(spec: str | Path) -> Path:
    """The path that a user's word stands for: of an address its mirror."""
    text = str(spec)
    if not is_address(text):
        return Path(spec)
    address = parse(text)
    return mirrors() / address.scheme / address.path


def address_of(path: Path) -> Address | None:
    """What a path is the mirror of; None of a path that is no mirror."""
    text, mirrors = str(path), _mirrors()
    if not text.startswith(mirrors):
        return None
    rest = os.path.normpath(text).removeprefix(mirrors)
    scheme, _, rest = rest.partition("/")
    bucket, _, key = rest.partition("/")
    return Address(scheme, bucket, key) if bucket else None


def shown(text: str) -> str:
    """A text with the address of every mirror in the place of its path."""
    mirrors = _mirrors()
    if mirrors not in text:
        return text
    return re.sub(rf"{re.escape(mirrors)}({'|'.join({*SCHEMES.values()})})/", r"\1://", text)


def kept_here(folder: Path) -> Path:
    """Where what goes with a folder and is no artifact lies: of a mirror beside all mirrors."""
    address = address_of(folder)
    return folder if address is None else Path(_cache(), _KEPT, address.scheme, address.path)


def cache_folder() -> Path:
    """Where copies, and what belongs to no artifact, lie on this machine."""
    return Path(_cache())


def mirrors() -> Path:
    """The folder of all mirrors."""
    return Path(_mirrors())


def _mirrors() -> str:
    return f"{_cache()}/{_MIRRORS}/"


def _cache() -> str:
    return _resolved(os.environ.get("NEGMINE_CACHE"), os.environ.get("XDG_CACHE_HOME"))


@cache
def _resolved(own: str | None, of_user: str | None) -> str:
    return os.path.realpath(own or Path(of_user or "~/.cache").expanduser() / "negmine")
