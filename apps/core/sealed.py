"""Secrets in the database, encrypted by SECRET_KEY and bound to what they are for."""

from __future__ import annotations

import base64
import hashlib

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

from prefloop.types import PrefloopError


class SecretUnreadable(PrefloopError):
    """It was encrypted under another SECRET_KEY, or for something else."""


def seal(secret: str, *, purpose: str, bound_to: str) -> str:
    """Encrypt a secret; it can be read only for the same purpose and bound to the same text."""
    return _fernet(purpose, bound_to).encrypt(secret.encode()).decode()


def unseal(sealed: str, *, purpose: str, bound_to: str) -> str:
    """Decrypt what `seal` returned, now or under an earlier key. Raises SecretUnreadable."""
    try:
        return _fernet(purpose, bound_to).decrypt(sealed.encode()).decode()
    except InvalidToken as error:
        raise SecretUnreadable("SECRET_KEY or the address changed") from error


def _fernet(purpose: str, bound_to: str) -> MultiFernet:
    # What it is bound to is part of the key: a ciphertext moved to another row can't be read there.
    keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    digests = (hashlib.sha256(f"prefloop.{purpose}\0{key}\0{bound_to}".encode()).digest() for key in keys)
    return MultiFernet([Fernet(base64.urlsafe_b64encode(digest)) for digest in digests])
