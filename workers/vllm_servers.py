"""The vLLM server of this worker: one at a time, kept while the same checkpoint samples again, stopped when idle.

It goes by itself when the worker does (prefloop/policy/vllm_guard.py), however that ends. Whoever wants the card for
something else (loading a model, training) calls `stop` first.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from django.conf import settings

from apps.policies.models import Checkpoint
from apps.policies.store import store_path
from prefloop.policy.vllm_server import VllmServer, start_vllm

log = structlog.get_logger()
LOOK_SECONDS = 1.0


@dataclass(slots=True)
class _Held:
    server: VllmServer
    fingerprint: str
    n_users: int = 0
    used_at: float = field(default_factory=time.monotonic)


_held: _Held | None = None
_lock = threading.RLock()


@contextmanager
def serving(
    checkpoint: Checkpoint, *, device: str, check: Callable[[], None], on_start: Callable[[], None] = lambda: None
) -> Iterator[VllmServer]:
    """Lend the server of this checkpoint, starting it where it does not run; `check` may end the wait by raising.

    `on_start` is called before one is started. Raises VllmMissing, VllmFailed, UnsafeCheckpoint.
    """
    global _held
    with _lock:
        if _held is None or _held.fingerprint != checkpoint.fingerprint or not _held.server.alive():
            stop()
            on_start()
            _held = _Held(_start(checkpoint, device, check), checkpoint.fingerprint)
            threading.Thread(target=_end_when_idle, args=(_held,), name="vllm-idle", daemon=True).start()
        held = _held
        held.n_users += 1
    try:
        yield held.server
    finally:
        with _lock:
            held.n_users -= 1
            held.used_at = time.monotonic()


def stop() -> None:
    """Stop the server, if there is one; calls in flight fail."""
    global _held
    with _lock:
        if _held is not None:
            held, _held = _held, None
            held.server.stop()
            log.info("vllm_stopped", model=held.server.model)


def _start(checkpoint: Checkpoint, device: str, check: Callable[[], None]) -> VllmServer:
    on_cpu = device == "cpu"
    began = time.monotonic()
    server = start_vllm(
        store_path(checkpoint.path),
        python=settings.VLLM_PYTHON,
        log_path=Path(settings.VAR_DIR)
        / "vllm"
        / f"{os.environ.get('PREFLOOP_QUEUE', 'foreground')}-{os.getpid()}.log",
        dtype="float32" if on_cpu else "bfloat16",  # as model_cache loads it
        eager=on_cpu,
        arguments=tuple(settings.VLLM_ARGUMENTS),
        check=check,
    )
    log.info("vllm_started", checkpoint=checkpoint.name, seconds=round(time.monotonic() - began, 1))
    return server


def _end_when_idle(held: _Held) -> None:
    while True:
        time.sleep(LOOK_SECONDS)
        with _lock:
            if _held is not held:
                return
            if not held.n_users and time.monotonic() - held.used_at >= settings.VLLM_IDLE_SECONDS:
                stop()
                return


atexit.register(stop)
