"""The address that `up` listens on, and the host names that browsers may use for it."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
from dataclasses import dataclass

from prefloop.types import PrefloopError


class PortTaken(PrefloopError):
    """Another process listens there already."""


@dataclass(frozen=True, slots=True)
class Addresses:
    bind: str  # what the server listens on
    names: tuple[str, ...]  # for ALLOWED_HOSTS
    origins: tuple[str, ...]  # for CSRF_TRUSTED_ORIGINS
    url: str  # for people


def addresses(*, host: str, port: int) -> Addresses:
    """Read `--host`: an address of this machine, a name that leads to it, or 0.0.0.0 for all its addresses."""
    local = ("127.0.0.1", "localhost", "[::1]")
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        bind, names = ("127.0.0.1" if host == "localhost" else "0.0.0.0"), [host]  # noqa: S104 - asked for by name
    else:
        bind = f"[{address}]" if address.version == 6 else str(address)
        names = own_names() if address.is_unspecified else [bind]
    names = [*dict.fromkeys([*names, *local])]
    origins = tuple(f"http://{name}:{port}" for name in names)
    return Addresses(bind=f"{bind}:{port}", names=tuple(names), origins=origins, url=f"http://{names[0]}:{port}")


def own_names() -> list[str]:
    """This machine's name and the address by which it would reach the network (nothing is sent)."""
    found = []
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        found.append(str(probe.getsockname()[0]))
    return [*found, socket.gethostname()]


def require_free(*, bind: str) -> None:
    """Raise PortTaken where another process listens on the address."""
    host, _, port = bind.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                other = f"stop what listens there or choose another: up --port {int(port) + 1}"
                raise PortTaken(f"port {port} on {host} is in use; {other}") from error
            raise PortTaken(f"cannot listen on {host}:{port}: {error.strerror}") from error
