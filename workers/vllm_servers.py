"""The vLLM server of this worker: one at a time, reused for other checkpoints that fit, stopped when idle.

It ends with the worker (prefloop/policy/vllm_guard.py), however that ends. Code that needs the GPU for something else
(loading a model, training) calls `stop` first.
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
import torch
from django.conf import settings

from apps.policies.models import Checkpoint
from apps.policies.store import checkpoint_here
from prefloop.policy.vllm_client import same_shape
from prefloop.policy.vllm_server import VllmServer, start_vllm
from workers.precision import dtype_of

log = structlog.get_logger()
LOOK_SECONDS = 1.0
SHARE_BESIDE_TRAINING = "0.35"  # of a GPU's memory


@dataclass(slots=True)
class _Held:
    server: VllmServer
    started_from: Path
    fingerprint: str  # of the weights that it holds now; "" where nobody knows
    small: bool = False  # it leaves memory of a GPU to training
    n_users: int = 0
    used_at: float = field(default_factory=time.monotonic)


_held: _Held | None = None
_lock = threading.RLock()


@contextmanager
def serving(
    checkpoint: Checkpoint,
    *,
    device: str,
    check: Callable[[], None],
    on_start: Callable[[], None] = lambda: None,
    beside_training: bool = False,
) -> Iterator[VllmServer]:
    """Lend the server of this checkpoint, starting it if it does not run; `check` may end the wait by raising.

    `on_start` is called before one is started. `beside_training`: a training process loads other weights into it, and
    needs GPU memory too, so that a server which takes most of it is restarted. Raises VllmMissing, VllmFailed,
    UnsafeCheckpoint.
    """
    global _held
    directory = checkpoint_here(checkpoint)
    with _lock:
        small = beside_training and device != "cpu"
        if _held is None or not _fits(_held, checkpoint.fingerprint, directory) or (small and not _held.small):
            stop()
            on_start()
            server = _start(checkpoint, device, check, small=small)
            _held = _Held(server, directory, checkpoint.fingerprint, small=small)
            threading.Thread(target=_end_when_idle, args=(_held,), name="vllm-idle", daemon=True).start()
        held = _held
        if held.fingerprint != checkpoint.fingerprint:
            held.fingerprint = ""  # whatever it holds, should the load fail
            held.server.load(directory)
            held.fingerprint = checkpoint.fingerprint
            log.info("vllm_loaded", checkpoint=checkpoint.name)
        held.n_users += 1
        if beside_training:
            held.fingerprint = ""
    try:
        yield held.server
    finally:
        with _lock:
            held.n_users -= 1
            held.used_at = time.monotonic()


def _fits(held: _Held, fingerprint: str, directory: Path) -> bool:
    """Whether the server holds these weights, or can load them now."""
    if not held.server.alive():
        return False
    return held.fingerprint == fingerprint or (not held.n_users and same_shape(held.started_from, directory))


def stop() -> None:
    """Stop the server, if there is one; calls in flight fail."""
    global _held
    with _lock:
        if _held is not None:
            held, _held = _held, None
            held.server.stop()
            log.info("vllm_stopped", model=held.server.model)


def _start(checkpoint: Checkpoint, device: str, check: Callable[[], None], *, small: bool) -> VllmServer:
    on_cpu = device == "cpu"
    began = time.monotonic()
    path = checkpoint_here(checkpoint)
    server = start_vllm(
        path,
        python=settings.VLLM_PYTHON,
        log_path=Path(settings.VAR_DIR)
        / "vllm"
        / f"{os.environ.get('PREFLOOP_QUEUE', 'foreground')}-{os.getpid()}.log",
        dtype="bfloat16" if dtype_of(path, device) == torch.bfloat16 else "float32",  # vLLM has no float64
        on_cpu=on_cpu,
        arguments=(*settings.VLLM_ARGUMENTS, *(("--gpu-memory-utilization", SHARE_BESIDE_TRAINING) if small else ())),
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
