"""Which server is asked for a model, and how."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import urlsplit, urlunsplit

from negmine.endpoints.budget import Limits, Prices, prices_of
from negmine.endpoints.keys import Key, key_of, variables
from negmine.endpoints.listing import OPENAI, Listing
from negmine.errors import UsageError

#: Where a model without ``@URL`` is asked for.
DEFAULT_URL = "https://api.openai.com/v1"

#: The end of a URL whose server has its paths at the root, where one without a path has a version.
AT_ROOT = "/."

_LOOPBACK = re.compile(r"localhost|127(\.\d+){3}|\[?::1\]?")


Via = Literal["http", "batch"]


class Options(Protocol):
    """What is asked of endpoints: the fields of :class:`negmine.params.llm.CallOptions`."""

    @property
    def max_calls(self) -> int | None:
        """Most calls."""

    @property
    def max_tokens(self) -> int | None:
        """Most tokens."""

    @property
    def max_cost(self) -> float | None:
        """Most money."""

    @property
    def price(self) -> str | None:
        """``IN,OUT`` of a million tokens."""

    @property
    def concurrency(self) -> int:
        """Most calls at a time."""

    @property
    def timeout(self) -> float:
        """Seconds of a call."""

    @property
    def retries(self) -> int:
        """How often a failed call is made again."""


@dataclass(frozen=True)
class Settings:
    """An endpoint for one model.

    Attributes:
        name: what the user calls the model: of a scorer, an encoder, a writer.
        model: what the server calls it.
        url: below which paths are, without a slash at the end; as it is written, :data:`AT_ROOT`
            included.
        key: what opens it, if anything does.
        concurrency: most calls at a time.
        timeout: seconds until a call without a whole answer counts as failed.
        retries: how often a failed call is made again.
        via: whether the server is asked, or files are written and read.
        batch_folder: where these files are; None = ``batch`` beside the stored answers.
        listings: where it tells of its models: the first path that it has counts.
    """

    name: str
    model: str
    url: str
    key: Key | None = None
    concurrency: int = 16
    timeout: float = 120.0
    retries: int = 6
    via: Via = "http"
    batch_folder: Path | None = None
    listings: Sequence[Listing] = (OPENAI,)

    @property
    def base(self) -> str:
        """What paths are put behind."""
        return self.url.removesuffix(AT_ROOT)

    @property
    def local(self) -> bool:
        """Whether the server is on this machine: no proxy lies between."""
        return _LOOPBACK.fullmatch(urlsplit(self.url).hostname or "") is not None

    @property
    def variable(self) -> str:
        """The environment variable that a key for this model alone is looked for in."""
        return next(iter(variables(self.name, self.url)))


@dataclass(frozen=True)
class Place:
    """Where servers of a kind are.

    Attributes:
        url: of a model without ``@URL``; None = one must be given.
        version: the path of a URL without any.
        listings: where such a server tells of its models.
    """

    url: str | None = DEFAULT_URL
    version: str = "/v1"
    listings: Sequence[Listing] = (OPENAI,)


#: OpenAI's own, and servers of its protocol.
_OPENAI = Place()


def settings_of(
    options: Options,
    name: str,
    spec: str,
    place: Place = _OPENAI,
    via: Via = "http",
    batch_folder: str | None = None,
) -> Settings:
    """How the model ``name``, written ``MODEL[@URL]``, is asked for.

    Args:
        options: what is asked of endpoints.
        name: of a scorer, an encoder, a writer.
        spec: what stands after the scheme.
        place: where servers of its kind are.
        via: whether the server is asked, or files are written and read.
        batch_folder: where these files are.

    Raises:
        UsageError: the model has no name, or the URL is none that is taken.
    """
    model, url = parsed(spec, place)
    return Settings(
        name,
        model,
        url,
        None if via == "batch" else key_of(name, url),
        options.concurrency,
        options.timeout,
        options.retries,
        via,
        None if batch_folder is None else Path(batch_folder),
        place.listings,
    )


def limits_of(options: Options) -> tuple[Limits, Prices | None]:
    """The budget that the options set, and the prices that they tell.

    Raises:
        UsageError: ``--price`` is not two numbers.
    """
    limits = Limits(options.max_calls, options.max_tokens, options.max_cost)
    return limits, None if options.price is None else prices_of(options.price)


def parsed(spec: str, place: Place = _OPENAI) -> tuple[str, str]:
    """``MODEL[@URL]`` as the model and a URL below which ``/chat/completions`` and others are.

    ``http://host:8080`` means ``http://host:8080/v1``, and ``http://host:8080/.`` the root; another
    path is taken as it stands.

    Raises:
        UsageError: see :func:`settings_of`.
    """
    found = re.fullmatch(r"(?P<model>.*?)(?:@(?P<url>[a-zA-Z][a-zA-Z0-9+.-]*://.*))?", spec)
    model, url = (found["model"], found["url"]) if found else (spec, None)
    if not model:
        raise UsageError(
            f"'{without_secrets(spec)}' names no model",
            hint="Write MODEL@URL, for example qwen3-8b@http://localhost:8000.",
        )
    if url is not None:
        return model, _checked(url, place.version)
    if place.url is None:
        raise UsageError(
            f"'{without_secrets(spec)}' names no server",
            hint="Write MODEL@URL, for example bge-reranker-v2-m3@http://localhost:8080.",
        )
    return model, place.url


def without_secrets(spec: str) -> str:
    """A spec as messages may show it: without what stands before a host, or after a path."""
    return re.sub(r"://[^/@]*@", "://", spec).partition("?")[0]


def _checked(url: str, version: str) -> str:
    shown = without_secrets(url)
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(f"'{shown}' is no URL: {error}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise UsageError(
            f"'{shown}' is no URL of a server",
            hint="Write http://HOST:PORT or https://HOST, with a path where the server has one.",
        )
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise UsageError(
            f"the URL of '{shown}' holds a password or a query",
            hint="Keys come from the environment: NEGMINE_API_KEY_NAME, or NEGMINE_API_KEY.",
        )
    path = parts.path.rstrip("/")
    return urlunsplit((parts.scheme, parts.netloc, path or version, "", ""))
