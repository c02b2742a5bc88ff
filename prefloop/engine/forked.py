"""What a nursery's child does to train: it becomes what `python -m prefloop.engine.train RUN_DIR` would be."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from setproctitle import setproctitle

from prefloop.engine.train import main


def begin(task: dict[str, Any], files: list[int]) -> int:
    """Train with these arguments, in this directory and environment, and return the exit status.

    `files`: standard input, the log (for standard output and error), and further open files that are wanted under the
    numbers `task["numbers"]`.
    """
    source, log, *others = files
    for file, number in [(source, 0), (log, 1), (log, 2), *zip(others, task["numbers"], strict=True)]:
        os.dup2(file, number)
    for file in files:
        os.close(file)
    arguments: list[str] = task["arguments"]
    setproctitle(" ".join(["prefloop.engine.train", *arguments]))  # it writes over the memory of the first environment
    os.environ.clear()
    os.environ.update(task["environment"])
    os.chdir(task["directory"])
    sys.argv = ["prefloop.engine.train", *arguments]
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    try:
        return main(arguments)
    except SystemExit as end:  # of the arguments' parser
        return end.code if isinstance(end.code, int) else 1
    finally:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
