"""Start and follow a child process that reads one model, and report progress from inside it.

The child writes JSON Lines: `{"done", "total", "what"}` as it proceeds, then `{"result": {…}}` or `{"refused": text}`.
It ends when its parent ends, which closes its standard input.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from prefloop.child_env import child_environment, hub_environment
from prefloop.types import PrefloopError


class NoModel(PrefloopError):
    """The source can't be read: it does not exist, or it is not a model."""


def run_child(
    module: str, arguments: Sequence[str], *, told: Callable[[int, int, str], None], what: str, online: bool = False
) -> dict[str, Any]:
    """Run `python -m module arguments`, pass on what it says of its progress, and return its result.

    `online`: it may ask the hub. Raises NoModel with what it refused, or with the last line it wrote when it broke;
    whatever `told` raises ends it.
    """
    env = hub_environment(os.environ) if online else child_environment(os.environ)
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=env | {"PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        ) as process,
    ):
        if process.stdout is None:
            raise AssertionError("it is a pipe")
        said: dict[str, Any] = {}
        try:
            for line in process.stdout:
                said = json.loads(line)
                if "done" in said:
                    told(int(said["done"]), int(said["total"]), str(said["what"]))
        finally:
            if process.poll() is None and not said.keys() & {"result", "refused"}:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if "result" in said:
            result: dict[str, Any] = said["result"]
            return result
        if "refused" in said:
            raise NoModel(str(said["refused"]))
        errors.seek(0)
        last = errors.read()[-4000:].decode("utf-8", "replace").strip().splitlines()
        why = last[-1][:300] if last else f"its reader ended with status {process.returncode}"
        raise NoModel(f"{what} could not be read: {why}")


def serve(work: Callable[[list[str], Callable[[int, int, str], None]], dict[str, Any]]) -> None:
    """Be the child: do the work with the command line's arguments, and say what comes of it."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # a library that prints must not speak into the answers

    def end_with_parent() -> None:
        while os.read(0, 1024):
            pass
        os._exit(1)

    def say(value: dict[str, Any]) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        result = work(sys.argv[1:], lambda done, total, what: say({"done": done, "total": total, "what": what}))
    except (PrefloopError, OSError) as error:
        say({"refused": str(error)})
        sys.exit(1)
    say({"result": result})
