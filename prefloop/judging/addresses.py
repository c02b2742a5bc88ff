"""Which addresses a judge's base URL may have, and which of them a socket may connect to.

One parser for the check and for the client: `httpx.URL` (two parsers that disagree are how guards are passed). Only
public addresses are called, except what the operator allows by `PREFLOOP_ENDPOINT_ALLOW=host:port,...`.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import httpx

from prefloop.judging.errors import EndpointForbidden, JudgeUnreachable

ALLOW_VARIABLE = "PREFLOOP_ENDPOINT_ALLOW"

Resolver = Callable[[str, int], list[str]]
"""(host, port) to the addresses it stands for, as text; raises OSError."""

_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*\.?\Z")
# A last label that is a number makes the whole an address to the C library ("127.1", "0x7f.1", "2130706433").
_NUMERIC_LAST_LABEL = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?\Z")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# 6to4 relays and Teredo carry an IPv4 address inside; site-local is deprecated but still private; the v4-compatible
# form is long dead. `is_global` calls several of these public.
_NEVER = tuple(
    ipaddress.ip_network(text)
    for text in ("2002::/16", "2001::/32", "fec0::/10", "::/96", "64:ff9b:1::/48", "192.88.99.0/24")
)


@dataclass(frozen=True, slots=True)
class EndpointAddress:
    """A checked base URL in parts: `host` without brackets or trailing dot, lower case."""

    url: httpx.URL
    host: str
    port: int

    @property
    def host_port(self) -> str:
        return host_port(self.host, self.port)


def host_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _allow_entry(entry: str) -> str:
    host, _, port = entry.strip().rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise EndpointForbidden(f"{ALLOW_VARIABLE}: {entry.strip()!r} is not host:port")
    return host_port(_plain_host(host.removeprefix("[").removesuffix("]")), int(port))


def normalise_allow(allow: Iterable[str]) -> frozenset[str]:
    return frozenset(_allow_entry(entry) for entry in allow)


def _plain_host(host: str) -> str:
    return host.lower().removesuffix(".")


def parse_base_url(base_url: str) -> EndpointAddress:
    """Return `base_url` parsed, if it is a plain http(s) URL of a host; no look-up. Raises EndpointForbidden."""
    shown = repr(base_url[:200])
    if not base_url.isascii():
        raise EndpointForbidden(f"the endpoint URL {shown} has characters outside ASCII; write the host as xn--…")
    if "\\" in base_url or re.search(r"[\x00-\x20\x7f]", base_url):
        raise EndpointForbidden(f"the endpoint URL {shown} has a space, a control character or a backslash")
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise EndpointForbidden(f"the endpoint URL {shown} is not a URL: {error}") from None
    if url.scheme not in _DEFAULT_PORTS or not base_url.lower().startswith(f"{url.scheme}://"):
        raise EndpointForbidden(f"the endpoint URL {shown} must begin with http:// or https://")
    if "@" in base_url or url.userinfo:
        raise EndpointForbidden("the endpoint URL carries a user or a password; give the key in its own field")
    if "#" in base_url or "?" in base_url:
        raise EndpointForbidden(f"the endpoint URL {shown} has a query or a fragment; give the /v1 base URL only")
    host = _plain_host(url.host)
    if "%" in host or not (":" in host or _HOST_NAME.match(host)):
        raise EndpointForbidden(f"the endpoint URL {shown} has no proper host name")
    if ":" not in host and _NUMERIC_LAST_LABEL.match(host) and not _is_canonical_ipv4(host):
        raise EndpointForbidden(f"the endpoint URL {shown} writes an address in an unusual form; use a.b.c.d")
    port = url.port if url.port is not None else _DEFAULT_PORTS[url.scheme]
    if not 1 <= port <= 65535:
        raise EndpointForbidden(f"the endpoint URL {shown} has no proper port")
    return EndpointAddress(url=url, host=host, port=port)


def _is_canonical_ipv4(host: str) -> bool:
    try:
        return str(ipaddress.IPv4Address(host)) == host
    except ValueError:
        return False


def is_public(address: str) -> bool:
    """Whether `address` (IPv4 or IPv6, as text) is on the public internet; anything unusual is not."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if ip in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
        if ip.scope_id is not None or ip.is_site_local:
            return False
    if any(ip.version == network.version and ip in network for network in _NEVER):
        return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified or ip.is_loopback)


def resolve(host: str, port: int) -> list[str]:
    """The addresses the system's resolver gives for `host`, each once, in its order."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def checked_addresses(host: str, port: int, *, allow: frozenset[str], resolver: Resolver = resolve) -> list[str]:
    """Return every address of `host`, if all may be called; the caller connects only to these.

    One private address among public ones refuses the whole host. Raises EndpointForbidden, or JudgeUnreachable when
    the name does not resolve.
    """
    name = host_port(_plain_host(host), port)
    try:
        addresses = resolver(host, port)
    except (OSError, UnicodeError) as error:
        raise JudgeUnreachable(f"the endpoint {name} has no address: {error}") from None
    if not addresses:
        raise JudgeUnreachable(f"the endpoint {name} has no address")
    if name not in allow and not all(is_public(address) for address in addresses):
        # which address it is would tell anyone who may name an endpoint how the network inside is laid out
        raise EndpointForbidden(
            f"{name} is on this machine or a private network; to allow it, add {name} to {ALLOW_VARIABLE}"
        )
    return addresses


def check_base_url(base_url: str, *, allow: Iterable[str] = (), resolver: Resolver = resolve) -> EndpointAddress:
    """Refuse a URL that must not be saved for an endpoint. A name that does not resolve now may be saved: connecting
    checks again, on the socket.
    """
    address = parse_base_url(base_url)
    try:
        checked_addresses(address.host, address.port, allow=normalise_allow(allow), resolver=resolver)
    except JudgeUnreachable:
        return address
    return address
