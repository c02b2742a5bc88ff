"""Endpoints: served models. A stored key belongs to the URL it was given for, and to no other."""

from __future__ import annotations

import base64
import hashlib

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings
from django.db import transaction

from apps.policies.models import Endpoint
from apps.policies.store import check_name
from apps.projects.models import Project
from prefloop.types import PrefloopError

SIMULATED_SCHEME = "simulated://"


class EndpointKeyUnreadable(PrefloopError):
    """The stored key was encrypted under another SECRET_KEY."""


def _fernet(base_url: str) -> Fernet:
    # The URL is part of the key: a ciphertext moved to a row with another URL can't be read there.
    digest = hashlib.sha256(f"prefloop.endpoint\0{settings.SECRET_KEY}\0{base_url}".encode()).digest()
    return Fernet(base64.urlsafe_b64encode(digest))


def endpoint_key(endpoint: Endpoint) -> str:
    """Return the endpoint's API key in clear ("" where it has none). Raises EndpointKeyUnreadable."""
    if not endpoint.encrypted_key:
        return ""
    try:
        return _fernet(endpoint.base_url).decrypt(endpoint.encrypted_key.encode()).decode()
    except InvalidToken as error:
        raise EndpointKeyUnreadable(
            f"the key of endpoint {endpoint.name!r} can't be read (SECRET_KEY or the URL changed): enter it again"
        ) from error


def endpoint_create(
    *, project: Project, name: str, base_url: str, model: str, api_key: str = "", is_simulated: bool = False
) -> Endpoint:
    check_name(name)
    base_url = base_url.rstrip("/")
    return Endpoint.objects.create(
        project=project,
        name=name,
        base_url=base_url,
        model=model,
        encrypted_key=_fernet(base_url).encrypt(api_key.encode()).decode() if api_key else "",
        is_simulated=is_simulated,
    )


def endpoint_update(*, endpoint: Endpoint, base_url: str, model: str, api_key: str | None = None) -> Endpoint:
    """Change where an endpoint points. Another URL wipes the stored key, unless a new one comes with it."""
    base_url = base_url.rstrip("/")
    with transaction.atomic():
        if base_url != endpoint.base_url:
            endpoint.encrypted_key = ""
        endpoint.base_url = base_url
        endpoint.model = model
        if api_key:
            endpoint.encrypted_key = _fernet(base_url).encrypt(api_key.encode()).decode()
        endpoint.save(update_fields=["base_url", "model", "encrypted_key"])
    return endpoint
