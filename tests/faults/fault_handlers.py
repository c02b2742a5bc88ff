"""Handlers of the fault tests, given to real workers by PREFLOOP_JOB_MODULES."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from apps.jobs.models import JobGroup
from apps.jobs.registry import JobContext, handler
from prefloop.child_env import child_environment


def _write(ctx: JobContext, n: int) -> None:
    """One item, once: the unique key makes another attempt go on where this one was lost."""
    with ctx.fenced():
        JobGroup.objects.get_or_create(
            unique_key=f"item-{ctx.payload['name']}-{n}", defaults={"name": f"attempt {ctx.attempt}"}
        )


@handler("fault.items", queue="cpu")
def items(ctx: JobContext) -> dict[str, int]:
    """Write n items, one by one; at `hold_at` wait in small steps for the file `go` to appear."""
    n = ctx.payload["n"]
    for i in range(n):
        ctx.check()
        if i == ctx.payload.get("hold_at") and ctx.attempt == 1:
            while not Path(ctx.payload["go"]).exists():
                if ctx.payload.get("polite", True):
                    ctx.check()
                time.sleep(0.02)
        _write(ctx, i)
        ctx.progress(i + 1, n)
    return {"n": n, "pid": os.getpid()}


@handler("fault.cards", queue="cpu")
def cards(ctx: JobContext) -> dict[str, str]:
    """Say which cards a child sees that is started as this worker starts those that train."""
    code = "import os; print(os.environ.get('CUDA_VISIBLE_DEVICES'), os.environ.get('CUDA_DEVICE_ORDER'))"
    env = child_environment(os.environ)
    return {
        "seen": subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True).stdout.strip()
    }


def _die_at(place: str) -> None:
    """Let the whole worker be killed at a call: "module:function:2" before the second one does anything."""
    module, path, n = place.split(":")
    *above, name = path.split(".")
    owner = importlib.import_module(module)
    for one in above:
        owner = getattr(owner, one)
    real, calls = getattr(owner, name), [0]

    def dies(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == int(n):
            os.killpg(os.getpgid(0), signal.SIGKILL)
        return real(*args, **kwargs)

    setattr(owner, name, dies)


if "FAULT_DIES_AT" in os.environ:
    _die_at(os.environ["FAULT_DIES_AT"])


@handler("fault.poison", queue="cpu")
def poison(ctx: JobContext) -> None:
    """Kill the process that runs it, as the system does to one that takes too much memory."""
    os.kill(os.getpid(), signal.SIGKILL)
