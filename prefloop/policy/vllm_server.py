"""A vLLM server of a local checkpoint: started on a free port of 127.0.0.1, awaited, used through the guarded client,
and gone when its owner is (`vllm_guard`).

What is unusual here:
1. vLLM lives in an interpreter of its own choosing: it pins torch and transformers to other versions than a trainer
   wants. Only HTTP connects the two.
2. The served model has a name made for this start, and the server a key made for it: another server that happens to
   listen on the port is not mistaken for it, and another user of the machine can't use it.
3. It is started with `--logprobs-mode raw_logprobs` (the policy's own, at temperature 1 and unfiltered, whatever is
   sampled with) and `--generation-config vllm` (no sampling defaults of the model's are mixed in), with telemetry off.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
from typing_extensions import override

from prefloop.checkpoints import check_checkpoint_dir
from prefloop.child_env import child_environment
from prefloop.judging.errors import JudgeError
from prefloop.policy.vllm_client import ServedModel, VllmFailed
from prefloop.types import PrefloopError

# Without compiling graphs first: it starts sooner. And no prompt is cut at the end of a batch: vLLM would take back
# what it drew there, which it can't with a seed on a CPU ("CPU Generator does not use offset"), and would end.
ON_CPU = ["--enforce-eager", "--no-enable-chunked-prefill"]
START_SECONDS = 900.0  # weights of tens of GB are read, and graphs compiled
STOP_SECONDS = 10.0
LOOK_SECONDS = 0.2
TAIL_CHARS = 500
GUARD = Path(__file__).with_name("vllm_guard.py")
SIDE = Path(__file__).with_name("vllm_side")  # the server's import path


class VllmMissing(PrefloopError):
    """There is no interpreter that has vLLM."""


class VllmServer(ServedModel):
    """A server that this process started. A context manager: leaving it stops the server."""

    def __init__(self, process: subprocess.Popen[bytes], *, port: int, model: str, key: str, log_path: Path) -> None:
        super().__init__(host_port=f"127.0.0.1:{port}", model=model, key=key)
        self._process = process
        self.log_path = log_path

    @property
    def pid(self) -> int:
        """The process group of the server and all it started."""
        return self._process.pid

    def alive(self) -> bool:
        return self._process.poll() is None

    @override
    def failure(self) -> VllmFailed:
        return VllmFailed(f"the vLLM server ended: {why(self.log_path)}")

    def stop(self) -> None:
        """End the server and everything that it started; calling it again is harmless."""
        if self.alive():
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)  # where the guard itself was killed
        self._process.wait()

    def __enter__(self) -> VllmServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start_vllm(
    checkpoint: str | Path,
    *,
    python: str,
    log_path: Path,
    dtype: str = "auto",
    on_cpu: bool = False,
    arguments: tuple[str, ...] = (),
    env: Mapping[str, str] | None = None,
    check: Callable[[], None] = lambda: None,
    start_seconds: float = START_SECONDS,
) -> VllmServer:
    """Serve a checkpoint directory and return when it answers.

    `python`: the interpreter that has vLLM ("" raises VllmMissing); `dtype`: in vLLM's words; `check` is called while
    waiting and may raise to give up. Raises UnsafeCheckpoint, VllmMissing, or VllmFailed with the log's own reason.
    """
    check_checkpoint_dir(checkpoint)
    if not python or not os.access(python, os.X_OK):
        raise VllmMissing(
            "vLLM is not installed here: pip install '.[vllm]', or name an interpreter that has it in "
            f"PREFLOOP_VLLM_PYTHON{f' ({python!r} can not be run)' if python else ''}"
        )
    port, model, key = _free_port(), f"prefloop-{secrets.token_hex(8)}", secrets.token_urlsafe(24)
    command = [python, "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", str(Path(checkpoint).resolve()), "--served-model-name", model]
    command += ["--host", "127.0.0.1", "--port", str(port), "--dtype", dtype, "--seed", "0"]
    command += ["--logprobs-mode", "raw_logprobs", "--generation-config", "vllm", "--disable-uvicorn-access-log"]
    command += ["--middleware", "prefloop_key.EveryPathNeedsTheKey"]
    command += ["--worker-extension-cls", "prefloop_worker.LoadsInPlace"]
    command += ON_CPU if on_cpu else []
    command += arguments
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and the operator's
            [sys.executable, "-I", str(GUARD), str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=_environment(os.environ if env is None else env, key),
        )
    server = VllmServer(process, port=port, model=model, key=key, log_path=log_path)
    try:
        _await(server, check=check, until=time.monotonic() + start_seconds)
    except BaseException:
        server.stop()
        raise
    return server


_ERROR = re.compile(r"\b(\w*(?:Error|Exception): .+)")
_WARNING = re.compile(r"\bWARNING \d")
_CONSEQUENCES = ("Engine core initialization failed", "EngineCore encountered", "WorkerProc initialization failed")


def why(path: Path) -> str:
    """Give in one line the reason why a server ended: the last error in its log that is not a mere consequence, else
    its last lines.
    """
    try:
        text = path.read_text("utf-8", errors="replace")
    except OSError:
        return f"it left no log in {path}"
    lines = [line for line in text.splitlines() if not _WARNING.search(line)]  # a warning may quote an error
    errors = [found.group(1) for line in lines if (found := _ERROR.search(line))]
    causes = [error for error in errors if not any(phrase in error for phrase in _CONSEQUENCES)]
    said = causes[-1] if causes else " / ".join(line.strip() for line in text.splitlines()[-3:] if line.strip())
    return f"{said[:TAIL_CHARS] or 'it said nothing'} (its log: {path})"


def _environment(env: Mapping[str, str], key: str) -> dict[str, str]:
    """The server's environment: none of our secrets, never our import path, no hubs, no telemetry."""
    seen = child_environment(env)
    kept = {name: value for name, value in seen.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    kept.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB; a GPU takes what --gpu-memory-utilization says
    return kept | {
        "PYTHONPATH": str(SIDE),
        "VLLM_SERVER_DEV_MODE": "1",  # for `ServedModel.load`
        "VLLM_API_KEY": key,  # in the environment, not in the list of processes
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
    }


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(server: VllmServer, *, check: Callable[[], None], until: float) -> None:
    with httpx.Client(trust_env=False, timeout=2.0) as client:
        while True:
            check()
            if not server.alive():
                raise server.failure()
            with contextlib.suppress(httpx.TransportError):
                if client.get(f"http://{server.host_port}/health").status_code == 200:
                    break
            if time.monotonic() > until:
                raise VllmFailed(f"the vLLM server was not ready in time; its last word: {why(server.log_path)}")
            time.sleep(LOOK_SECONDS)
    with server.endpoint() as endpoint:
        try:
            names = endpoint.models()
        except JudgeError as error:
            raise VllmFailed(f"the vLLM server does not answer as ours: {error}") from error
    if server.model not in names:
        raise VllmFailed(f"another server answers on {server.host_port}")
