"""Limits on guessing passwords: failures are counted per account and per address, in the shared cache.

An account with too many failures has to wait. An address with very many failures locks out nobody, since a whole office
may share it: from then on each account is allowed fewer failures, so that a correct password still works, and trying
one password on all accounts gains nothing. One-time links need no limit: they hold 256 random bits.

The address is the one the connection came from. X-Forwarded-For is trusted only from a trusted proxy, so writing one
starts no new count. A proxy must be named in PREFLOOP_TRUSTED_PROXIES; otherwise everybody behind it has one address. A
named proxy's own address never counts. A success clears the account's count.
"""

from __future__ import annotations

import hashlib
from ipaddress import ip_address

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest

WINDOW_SECONDS = 15 * 60
MOST_PER_ACCOUNT = 10
MOST_PER_ADDRESS = 300  # then an account is allowed FEW_PER_ACCOUNT failures, from this address
FEW_PER_ACCOUNT = 3


def _key(kind: str, value: str) -> str:
    return f"login:{kind}:{hashlib.blake2s(value.lower().encode(), digest_size=12).hexdigest()}"


def address_of(request: HttpRequest) -> str:
    """Return the client's address; "" if it is that of a proxy whose clients are not known.

    Of X-Forwarded-For the last address that is not a trusted proxy's counts: anybody can write the ones before it.
    """
    address = str(request.META.get("REMOTE_ADDR", ""))
    chain = [part.strip() for part in request.headers.get("X-Forwarded-For", "").split(",") if part.strip()]
    while chain and _is_proxy(address):
        address = chain.pop()
    return "" if _is_proxy(address) or not _is_address(address) else address


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_proxy(text: str) -> bool:
    return _is_address(text) and any(ip_address(text) in network for network in settings.TRUSTED_PROXIES)


def is_blocked(*, account: str, address: str) -> bool:
    """Say whether this account has failed too often within the last quarter of an hour, as seen from this address."""
    counts = cache.get_many([_key("account", account), _key("address", address)])
    n_account, n_address = (int(counts.get(_key(*pair), 0)) for pair in (("account", account), ("address", address)))
    return n_account >= (FEW_PER_ACCOUNT if address and n_address >= MOST_PER_ADDRESS else MOST_PER_ACCOUNT)


def note_failure(*, account: str, address: str) -> None:
    for key in [_key(kind, value) for kind, value in (("account", account), ("address", address)) if value]:
        cache.add(key, 0, WINDOW_SECONDS)
        try:
            cache.incr(key)
        except ValueError:  # it ran out between the two calls
            cache.set(key, 1, WINDOW_SECONDS)


def note_success(*, account: str) -> None:
    cache.delete(_key("account", account))
