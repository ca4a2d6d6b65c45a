"""Where bytes lie: a local file, stdin, or a file of any fsspec file system, behind one face.

A place has two names. ``path`` opens it and may hold a password or a signed query; ``name`` is
what messages, logs and manifests say, and never does.
"""

from __future__ import annotations

import glob
import lzma
import os
import re
import sys
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow as pa

from negmine.errors import (
    InvalidDataError,
    MissingDependencyError,
    MissingInputError,
    NegmineError,
    UsageError,
    did_you_mean,
)

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(://|::)")
#: The packages that bring file systems which fsspec does not have itself.
_PACKAGES = {
    "s3": "negmine[s3]",
    "s3a": "negmine[s3]",
    "gs": "negmine[gcs]",
    "gcs": "negmine[gcs]",
    "hf": "huggingface_hub",
    "http": "aiohttp",
    "https": "aiohttp",
    "sftp": "paramiko",
    "ssh": "paramiko",
    "abfs": "adlfs",
    "az": "adlfs",
}


@dataclass(frozen=True)
class Place:
    """A file or folder.

    Attributes:
        name: what it is called in messages and manifests.
        path: what it is opened by: a local path, ``-``, or a path inside ``fs``.
        fs: the fsspec file system; None where the file is local.
        secrets: what must not be shown should a library's error message hold it.
    """

    name: str
    path: str = field(repr=False)
    fs: Any = field(default=None, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def is_stdin(self) -> bool:
        """Whether it is standard input."""
        return self.fs is None and self.path == "-"

    def child(self, name: str) -> Place:
        """A file or folder in this folder."""
        separator = "" if self.name.endswith("/") else "/"
        return Place(
            f"{self.name}{separator}{name}",
            f"{self.path.rstrip('/') or '/'}/{name}" if self.fs else os.path.join(self.path, name),
            self.fs,
            self.secrets,
        )

    def is_dir(self) -> bool:
        """Whether it is a folder."""
        if self.fs is None:
            return os.path.isdir(self.path)
        if _protocols(self.fs) & {"http", "https"}:
            # There are no folders there, and to look for one fsspec would fetch the whole file.
            return False
        with file_errors(self):
            return bool(self.fs.isdir(self.path))

    def exists(self) -> bool:
        """Whether there is such a file or folder."""
        if self.fs is None:
            return os.path.exists(self.path)
        with file_errors(self):
            return bool(self.fs.exists(self.path))

    def files(self) -> list[str]:
        """Names of the files in this folder, sorted."""
        return self.entries()[0]

    def entries(self) -> tuple[list[str], list[str]]:
        """Names of the files and of the folders in this folder, each sorted."""
        with file_errors(self):
            if self.fs is None:
                with os.scandir(self.path) as entries:
                    found = [(entry.name, entry.is_dir(), entry.is_file()) for entry in entries]
            else:
                found = [
                    (
                        entry["name"].rstrip("/").rsplit("/", 1)[-1],
                        entry["type"] == "directory",
                        entry["type"] == "file",
                    )
                    for entry in self.fs.ls(self.path, detail=True)
                ]
        files = sorted(name for name, _, is_file in found if is_file)
        return files, sorted(name for name, is_folder, _ in found if is_folder)

    def matching(self) -> list[Place]:
        """The files and folders that this place, as a pattern, stands for; in no order."""
        with file_errors(self):
            if self.fs is None:
                return [Place(name, name) for name in glob.glob(self.path, recursive=True)]
            paths = self.fs.glob(self.path)
        # A listing has no protocol, host or user: these are taken from the pattern's beginning.
        path, name = (_before_pattern(text) for text in (self.path, self.name))
        return [
            replace(self, name=name + found.removeprefix(path), path=found)
            if found.startswith(path)
            else replace(self, name=self.fs.unstrip_protocol(found), path=found)
            for found in paths
        ]

    def info(self) -> Mapping[str, Any]:
        """What the file system says of a remote file, asked anew."""
        with file_errors(self):
            self.fs.invalidate_cache()
            found: Mapping[str, Any] = self.fs.info(self.path)
            return found

    @contextmanager
    def open(self) -> Iterator[Any]:
        """The bytes of the file as they lie, as a Python file object."""
        if self.is_stdin:
            yield sys.stdin.buffer
            return
        with file_errors(self):
            stream: Any = (
                Path(self.path).open("rb")  # noqa: SIM115 (closed below)
                if self.fs is None
                else self.fs.open(self.path, "rb")
            )
        with stream:
            yield stream


def place(spec: str) -> Place:
    """The place that a user names: a path, ``-``, or a URL.

    Raises:
        UsageError: no such kind of address.
        MissingDependencyError: the package for this kind of address is not installed.
    """
    if spec == "-":
        return Place("stdin", "-")
    if not is_url(spec) or os.path.exists(spec):
        return Place(spec, spec)
    name, secrets = redacted(spec), _secrets(spec)
    protocol = re.split("://|::", spec, maxsplit=1)[0].lower()
    import fsspec
    from fsspec.registry import known_implementations

    hidden: Exception | None = None
    try:
        fs, path = fsspec.url_to_fs(spec)
    except ImportError:
        package = _PACKAGES.get(protocol)
        raise MissingDependencyError(
            f"{protocol}:// needs a package that is not installed",
            where=name,
            hint=f"pip install '{package}'"
            if package
            else str(known_implementations.get(protocol, {}).get("err", "See fsspec's manual.")),
        ) from None
    except Exception as error:
        hidden = error
    if hidden is not None:
        if protocol not in {*known_implementations, *fsspec.available_protocols()}:
            raise UsageError(
                f"unknown kind of address '{protocol}'",
                where=name,
                hint=did_you_mean(protocol, ["file", "gs", "hf", "http", "https", "memory", "s3"]),
            ) from None
        raise UsageError(
            f"not a usable address: {_cleaned(str(hidden), secrets)}", where=name
        ) from None
    if isinstance(fs, fsspec.get_filesystem_class("file")):
        return Place(path, path)
    return Place(name, path, fs, secrets)


def is_url(spec: str) -> bool:
    """Whether ``spec`` is an address of fsspec's and no local path."""
    return _URL.match(spec) is not None


def is_pattern(spec: str) -> bool:
    """Whether ``spec`` may stand for several files; what lies behind HTTP cannot be listed."""
    if is_url(spec) and spec.lower().startswith(("http://", "https://")):
        return False
    return "::" not in spec and glob.has_magic(spec)


def _before_pattern(text: str) -> str:
    """The folder that a pattern begins in, with its slash."""
    return re.split(r"[*?\[]", text, maxsplit=1)[0].rpartition("/")[0] + "/"


def _protocols(fs: Any) -> set[str]:
    return {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)


def redacted(url: str) -> str:
    """``url`` without user, password, query and fragment."""
    return "::".join(_bare(part) for part in url.split("::"))


def _bare(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    host, slash, path = rest.partition("/")
    if scheme.lower() not in ("s3", "s3a", "gs", "gcs", "hf", "memory", "file", "local"):
        # Elsewhere these characters may be part of a name.
        path = re.split("[?#]", path, maxsplit=1)[0]
        host = re.split("[?#]", host, maxsplit=1)[0]
    if scheme.lower() != "hf":
        host = host.rpartition("@")[2]
    return f"{scheme}://{host}{slash}{path}"


def _secrets(url: str) -> tuple[str, ...]:
    """All parts of a URL that may be a secret, as they are and decoded, the longest first."""
    found = set()
    for part in url.split("::"):
        if redacted(part) == part:
            continue
        rest = part.partition("://")[2]
        user_info, at, _ = rest.partition("/")[0].rpartition("@")
        if at:
            found |= {user_info, *user_info.split(":", 1)[-1:]}
        split = urlsplit("x://" + rest)
        found |= {split.query, split.fragment, *(value for _, value in parse_qsl(split.query))}
    found |= {unquote(secret) for secret in found}
    return tuple(sorted((secret for secret in found if len(secret) > 2), key=len, reverse=True))


def _cleaned(message: str, secrets: tuple[str, ...]) -> str:
    for secret in secrets:
        message = message.replace(secret, "***")
    return message


@contextmanager
def file_errors(file: Place) -> Iterator[None]:
    """What opening, fetching or decompressing a file raises, as the user's mistake that it is."""
    try:
        yield
    except NegmineError:
        raise
    except FileNotFoundError:
        raise MissingInputError("no such file", where=file.name) from None
    except (PermissionError, IsADirectoryError) as error:
        reason = _cleaned(error.strerror or str(error), file.secrets) or "permission denied"
        raise MissingInputError(f"cannot be read: {reason}", where=file.name) from None
    except (
        # Arrow raises UnicodeDecodeError for damaged column names, and others of its own.
        *(EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile),
        *(pa.ArrowException, UnicodeDecodeError),
    ) as error:
        raise _damaged(file, error) from None
    except OSError as error:
        if file.fs is None:
            raise _damaged(file, error) from None
        raise _unreachable(file, error) from None
    except Exception as error:
        # Every remote file system has errors of its own.
        if file.fs is None:
            raise
        raise _unreachable(file, error) from None


def _damaged(file: Place, error: Exception) -> InvalidDataError:
    return InvalidDataError(
        f"the file is damaged or cut short: {_cleaned(str(error), file.secrets)}",
        where=file.name,
        hint="Fetch or write it again; the suffix must tell its compression.",
    )


def _unreachable(file: Place, error: Exception) -> MissingInputError:
    told = _cleaned(str(error), file.secrets)
    return MissingInputError(
        f"cannot be read: {type(error).__name__}: {told}",
        where=file.name,
        hint="Check the address, the network and your credentials; damaged bytes also end here.",
    )
