"""Readers of environment variables that fail loudly: a malformed value stops the start, by name.

django-environ reads DATABASE_URL. Its other readers read a misspelt switch as False, and a value that begins with a
dollar sign as another variable's name, so those are our own.
"""

from __future__ import annotations

import math
import os
import re
import secrets
import sys
from decimal import Decimal
from importlib.util import find_spec
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import quote

import environ
from django.core.exceptions import ImproperlyConfigured


def env_str(name: str, default: str = "") -> str:
    """Read NAME, or the file that NAME_FILE points to (for secrets mounted as files)."""
    file = os.environ.get(f"{name}_FILE")
    if file:
        try:
            return Path(file).read_text().strip()
        except OSError as error:
            raise ImproperlyConfigured(f"{name}_FILE={file!r} cannot be read: {error.strerror}") from error
    return os.environ.get(name, default)


def env_bool(name: str, default: bool) -> bool:
    value = os.environ.get(name)
    if value is None or value == "":
        return default
    if value.lower() in {"true", "1"}:
        return True
    if value.lower() in {"false", "0"}:
        return False
    raise ImproperlyConfigured(f"{name} must be True or False, not {value!r}")


def env_int(name: str, default: int, *, minimum: int | None = None) -> int:
    value = os.environ.get(name)
    if value is None or value == "":
        return default
    try:
        number = int(value)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} must be a whole number, not {value!r}") from error
    if minimum is not None and number < minimum:
        raise ImproperlyConfigured(f"{name} must be a whole number ≥ {minimum}, not {value!r}")
    return number


def env_float(name: str, default: float, *, above: float) -> float:
    value = os.environ.get(name)
    if value is None or value == "":
        return default
    try:
        number = float(value)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} must be a number, not {value!r}") from error
    if not math.isfinite(number) or number <= above:
        raise ImproperlyConfigured(f"{name} must be a number > {above:g}, not {value!r}")
    return number


def env_choice(name: str, choices: tuple[str, ...]) -> str:
    """Read one of the choices, the first if it is unset. Raises ImproperlyConfigured for any other value."""
    value = env_str(name, choices[0])
    if value not in choices:
        raise ImproperlyConfigured(f"{name} must be one of {', '.join(choices)}, not {value!r}")
    return value


def env_list(name: str, default: str = "") -> list[str]:
    return [item.strip() for item in env_str(name, default).split(",") if item.strip()]


def http_url(name: str, default: str) -> str:
    """Read the address of a web server, which pages may link to."""
    value = env_str(name, default)
    if not re.fullmatch(r"https?://[^@\s]+", value):
        raise ImproperlyConfigured(f"{name} must begin with http:// or https://, without a password, not {value!r}")
    return value


def oidc() -> dict[str, Any]:
    """Read the identity provider: its issuer, by what it knows prefloop, its name on the page, and whether it brings
    new accounts. {} without PREFLOOP_OIDC_ISSUER.
    """
    issuer = env_str("PREFLOOP_OIDC_ISSUER")
    if not issuer:
        return {}
    if not re.fullmatch(r"https://[^@\s?#]+|http://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?(/[^@\s?#]*)?", issuer):
        raise ImproperlyConfigured(f"PREFLOOP_OIDC_ISSUER must begin with https://, not {issuer!r}")
    found = {name: env_str(f"PREFLOOP_OIDC_{name.upper()}") for name in ("client_id", "secret")}
    for name, value in found.items():
        if not value:
            raise ImproperlyConfigured(f"PREFLOOP_OIDC_ISSUER needs PREFLOOP_OIDC_{name.upper()}")
    name = env_str("PREFLOOP_OIDC_NAME") or issuer.partition("://")[2].partition("/")[0]
    return {"issuer": issuer, **found, "name": name, "create": env_bool("PREFLOOP_OIDC_CREATE", False)}


def slurm() -> tuple[str, dict[str, str | int]]:
    """Read PREFLOOP_SLURM: partition=gpu,account=us,timeout_min=600. Returns the kind of cluster (slurm, or local for
    submitit's own executor) and its options; those that are not common ones of submitit are Slurm's.
    """
    common = ("timeout_min", "mem_gb", "cpus_per_task", "gpus_per_node")
    found: dict[str, str | int] = {}
    for item in env_list("PREFLOOP_SLURM"):
        name, equals, value = item.partition("=")
        if not equals or not name.isidentifier():
            raise ImproperlyConfigured(f"PREFLOOP_SLURM must hold name=value,…, not {item!r}")
        found[name if name in common else f"slurm_{name}"] = int(value) if value.isdecimal() else value
    cluster = found.pop("slurm_cluster", "slurm")
    if cluster not in ("slurm", "local"):
        raise ImproperlyConfigured(f"PREFLOOP_SLURM: cluster must be slurm or local, not {cluster!r}")
    return str(cluster), found


def quotas(name: str, defaults: dict[str, int]) -> dict[str, Decimal]:
    """Read limits: samples=100000,money=50; an empty one (uploads=) takes a default away."""
    found = {key: Decimal(value) for key, value in defaults.items()}
    for item in env_list(name):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not key.isidentifier() or not equals or (value and not re.fullmatch(r"\d{1,14}(\.\d{1,4})?", value)):
            raise ImproperlyConfigured(f"{name} must hold name=number,…, not {item!r}")
        found.pop(key, None)
        if value:
            found[key] = Decimal(value)
    return found


def no_longer(**now: str) -> None:
    """Refuse variables that mean nothing any more, and say what says the same now."""
    for name, instead in now.items():
        if name in os.environ:
            raise ImproperlyConfigured(f"{name} is no longer read: set {instead}")


def networks(name: str) -> list[IPv4Network | IPv6Network]:
    """Read addresses and networks: 10.0.0.2,172.16.0.0/12."""
    try:
        return [ip_network(item, strict=False) for item in env_list(name)]
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} must hold addresses or networks: {error}") from error


def import_dirs(own: Path, given: list[str]) -> tuple[list[Path], dict[str, list[Path]]]:
    """Read the directories that models may be imported from: directories of the operator, and `slug=directory` of a
    project.
    """
    everywhere, of_projects = [own], dict[str, list[Path]]()
    for item in given:
        slug, equals, path = item.partition("=")
        if equals and "/" not in slug:
            of_projects.setdefault(slug, []).append(Path(path))
        else:
            everywhere.append(Path(item))
    return everywhere, of_projects


def store() -> tuple[Path | None, str]:
    """Read PREFLOOP_STORE: a directory that holds `store`, `uploads` and `imports`, None for PREFLOOP_VAR; or the URL
    of a store that machines share.
    """
    given = env_str("PREFLOOP_STORE") or "file:"
    if given.startswith("file:"):
        path = given.removeprefix("file:").removeprefix("//")
        if path and not path.startswith("/"):
            raise ImproperlyConfigured(
                f"PREFLOOP_STORE={given!r} must name a directory from the root: file:/srv/prefloop"
            )
        return (Path(path).resolve() if path else None), ""
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/@?#\s]+(/[^@?#\s]*)?", given):
        raise ImproperlyConfigured(
            f"PREFLOOP_STORE must be file:/DIRECTORY or a URL without a password, s3://bucket/prefix, not {given!r}"
        )
    return None, given.rstrip("/")


def vllm_python(root: Path) -> str:
    """Name the interpreter that has vLLM: PREFLOOP_VLLM_PYTHON, this one, or `.venv-vllm`'s; "" if none has.

    vLLM is not imported to find out: that takes seconds, and torch.
    """
    given = env_str("PREFLOOP_VLLM_PYTHON")
    if given:
        return given
    if find_spec("vllm") is not None:
        return sys.executable
    beside = root / ".venv-vllm" / "bin" / "python"
    return str(beside) if beside.exists() else ""


def base_url(recorded: Path) -> str:
    """Return the base URL of links: PREFLOOP_BASE_URL, else what `up` last recorded, else its default."""
    found = env_str("PREFLOOP_BASE_URL")
    if not found and recorded.exists():
        found = recorded.read_text("utf-8").strip()
    return found or "http://127.0.0.1:8000"


def secret_key(var: Path, *, shared: str) -> str:
    """Read SECRET_KEY, or the key generated once into var/secret_key (mode 0600, created exclusively).

    `shared`: the URL of the store that this machine shares with others, which need the same key.
    """
    given = env_str("SECRET_KEY")
    if shared and not given:
        raise ImproperlyConfigured(
            f"set SECRET_KEY (or SECRET_KEY_FILE), the same on every machine: they share PREFLOOP_STORE={shared}, and "
            "without it each would make a key of its own, with which the others can't read sealed keys and sessions"
        )
    if given:
        if len(given) < 32:
            raise ImproperlyConfigured("SECRET_KEY must be at least 32 characters")
        return given
    path = var / "secret_key"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        key = path.read_text().strip()
        if len(key) < 32:
            raise ImproperlyConfigured(f"{path} holds no usable key; delete it to have a new one made") from None
        return key
    with os.fdopen(descriptor, "w") as file:
        key = secrets.token_urlsafe(48)
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    return key


SQLITE = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": (
        "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;PRAGMA journal_size_limit=67108864;"
        "PRAGMA mmap_size=134217728;PRAGMA cache_size=-32000"
    ),
}


def database(url: str, var: Path) -> dict[str, Any]:
    """Turn DATABASE_URL into Django's settings; empty means SQLite in var/. Its query parameters become options.

    SQLite is opened IMMEDIATE with WAL: Django's default (DEFERRED) fails about half of concurrent
    read-then-write transactions at once with "database is locked", whatever the timeout.
    """
    url = url or f"sqlite:///{quote(str(var / 'prefloop.sqlite3'))}"
    scheme = url.partition(":")[0]
    if scheme not in {"sqlite", "postgres", "postgresql"}:
        raise ImproperlyConfigured(f"DATABASE_URL must begin with sqlite:// or postgres://, not {scheme!r}")
    try:
        found: dict[str, Any] = dict(environ.Env.db_url_config(url))
    except ValueError as error:
        raise ImproperlyConfigured(f"DATABASE_URL can't be read: {error}") from error
    given = found.get("OPTIONS", {})
    if scheme == "sqlite":
        return {"ENGINE": found["ENGINE"], "NAME": found["NAME"], "OPTIONS": SQLITE | given}
    return {"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True, **found}
