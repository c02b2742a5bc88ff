"""The actor in which Ray Data holds an engine on a node of a cluster."""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefloop.bulk.work import Said, read_asked, read_work, said_path, write_said
from prefloop.child_env import OFFLINE
from prefloop.judging.errors import JudgeError, JudgeUnreachable
from prefloop.recipes.runspec import FailureClass
from prefloop.types import PrefloopError


class Engine:
    """An engine, which is given pieces by their numbers. Safe to call from several threads."""

    def __init__(self, directory: str) -> None:
        os.environ.update(OFFLINE)
        from prefloop.bulk.engine import opened  # torch, which the program that gives out pieces never needs

        self._directory, self._name = Path(directory), f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
        self._failure = ""
        try:
            self._answerer = opened(read_work(self._directory), self._name)
        except PrefloopError as error:
            self._failure = _failure(error)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Answer one piece, unless an engine that was lost has already written its answers."""
        number, began = int(batch["piece"][0]), time.time()
        failure = self._failure
        if not failure and not said_path(self._directory, number).exists():
            failure = self._answer(number)
        return {
            "piece": [number],
            "engine": [self._name],
            "began": [began],
            "ended": [time.time()],
            "failure": [failure],
        }

    def _answer(self, number: int) -> str:
        """Answer a piece and return ""; return why it can't be, with those answers written that came before."""
        said: list[Said] = []
        failure = ""
        try:
            self._answerer.answer(read_asked(self._directory, number), said.append)
        except PrefloopError as error:
            failure = _failure(error)
        write_said(self._directory, number, said)
        return failure


def _failure(error: PrefloopError) -> str:
    kind: FailureClass = "internal"
    if isinstance(error, JudgeError):
        kind = "judge_unreachable" if isinstance(error, JudgeUnreachable) else "judge_refused"
    return json.dumps({"failure_class": kind, "message": str(error)})
