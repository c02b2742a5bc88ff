"""A brake on guessing: failures are counted per account and per address, in the shared cache.

The address is the one the connection came from (REMOTE_ADDR); X-Forwarded-For is never believed, so that writing
one does not start a new count. A success clears the account's count, never the address's.
"""

from __future__ import annotations

import hashlib

from django.core.cache import cache

WINDOW_SECONDS = 15 * 60
MOST_PER_ACCOUNT = 10
MOST_PER_ADDRESS = 50


def _key(kind: str, value: str) -> str:
    return f"login:{kind}:{hashlib.blake2s(value.lower().encode(), digest_size=12).hexdigest()}"


def is_blocked(*, account: str, address: str) -> bool:
    """Say whether this account or this address has failed too often within the last quarter of an hour."""
    counts = cache.get_many([_key("account", account), _key("address", address)])
    n_account, n_address = (int(counts.get(_key(*pair), 0)) for pair in (("account", account), ("address", address)))
    return n_account >= MOST_PER_ACCOUNT or n_address >= MOST_PER_ADDRESS


def note_failure(*, account: str, address: str) -> None:
    for key in (_key("account", account), _key("address", address)):
        cache.add(key, 0, WINDOW_SECONDS)
        try:
            cache.incr(key)
        except ValueError:  # it ran out between the two calls
            cache.set(key, 1, WINDOW_SECONDS)


def note_success(*, account: str) -> None:
    cache.delete(_key("account", account))
