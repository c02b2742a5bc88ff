"""Readers of environment variables that fail loudly: a malformed value stops the start, by name."""

from __future__ import annotations

import math
import os
import secrets
import sys
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

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


def env_list(name: str, default: str = "") -> list[str]:
    return [item.strip() for item in env_str(name, default).split(",") if item.strip()]


def vllm_python(root: Path) -> str:
    """Name the interpreter that has vLLM: PREFLOOP_VLLM_PYTHON, this one, or `.venv-vllm`'s; "" where none has.

    vLLM is not imported to find out: that takes seconds, and torch.
    """
    given = env_str("PREFLOOP_VLLM_PYTHON")
    if given:
        return given
    if find_spec("vllm") is not None:
        return sys.executable
    beside = root / ".venv-vllm" / "bin" / "python"
    return str(beside) if beside.exists() else ""


def secret_key(var: Path) -> str:
    """Read SECRET_KEY, or the key generated once into var/secret_key (mode 0600, created exclusively)."""
    given = env_str("SECRET_KEY")
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


def database(url: str, var: Path) -> dict[str, object]:
    """Turn DATABASE_URL into Django's settings; empty means SQLite in var/.

    SQLite is opened IMMEDIATE with WAL: Django's default (DEFERRED) fails about half of concurrent
    read-then-write transactions at once with "database is locked", whatever the timeout.
    """
    if not url:
        url = f"sqlite:///{var / 'prefloop.sqlite3'}"
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        # sqlite:///relative or sqlite:////absolute
        name = unquote(parts.path[1:]) or ":memory:"
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": name,
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                "init_command": (
                    "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;PRAGMA journal_size_limit=67108864;"
                    "PRAGMA mmap_size=134217728;PRAGMA cache_size=-32000"
                ),
            },
        }
    if parts.scheme in {"postgres", "postgresql"}:
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": unquote(parts.path[1:]),
            "USER": unquote(parts.username or ""),
            "PASSWORD": unquote(parts.password or ""),
            "HOST": parts.hostname or "",
            "PORT": str(parts.port or ""),
            "CONN_MAX_AGE": 60,
            "CONN_HEALTH_CHECKS": True,
        }
    raise ImproperlyConfigured(f"DATABASE_URL must begin with sqlite:// or postgres://, not {parts.scheme!r}")
