"""Who answers: what a server tells of a model stands for it in fingerprints and with answers."""

from __future__ import annotations

import hashlib
from functools import partial

from negmine import log
from negmine.endpoints.asking import Client
from negmine.endpoints.request import canonical
from negmine.endpoints.transport import NOT_THERE, Trouble
from negmine.errors import EndpointError


def identify(client: Client) -> str:
    """Ask the server who answers, and have the client keep its answers under that identity.

    A server that cannot be reached is taken for what it was when it was asked last; over files
    nobody is asked at all. Of a server that lists no models only the name is known.

    Returns:
        What stands for the model in a fingerprint.

    Raises:
        UsageError: the server lists models, and not this one.
        EndpointError: it does not answer, and never did, or lets nobody in.
    """
    settings = client.settings
    known = client.store.remembered(settings.url, settings.model)
    if settings.via == "batch":
        client.identity = known[0] if known is not None else ""
        return client.identity or settings.model
    try:
        client.identity = _told(client, patient=known is None)
    except EndpointError as error:
        if known is None:
            raise
        log.event(f"{error.what}: the model is taken for what it was when it was asked last")
        client.identity = known[0]
        client.confirm = partial(_confirm, client)
    return client.identity


def _told(client: Client, *, patient: bool) -> str:
    """The identity that the server tells now, at the first path that it has."""
    settings = client.settings
    for listing in client.settings.listings:
        listed = client.get(listing.path, patient=patient)
        if isinstance(listed, Trouble):
            if not listed.message.startswith(NOT_THERE):
                raise client.stopped(listed)
            continue
        told = listing.described(listed, settings.model, settings.url)
        digest = hashlib.blake2b(canonical(told), digest_size=8).hexdigest()
        identity = f"{settings.model} {digest}"
        client.store.remember(settings.url, settings.model, identity, told)
        return identity
    return settings.model


def _confirm(client: Client) -> None:
    """See that a server which was away is what it was.

    Raises:
        EndpointError: it is not, or is away still.
    """
    client.confirm = None
    if _told(client, patient=True) != client.identity:
        settings = client.settings
        raise EndpointError(
            f"the server of '{settings.name}' has another model '{settings.model}' than before",
            where=settings.url,
            hint="Run the same command again: it asks the model that is there now.",
        )
