"""Many questions to the engines of a cluster, as files that the worker and the nodes share.

The worker writes the questions, cut into pieces; a program on the cluster (`prefloop/bulk/run.py`) gives the pieces to
engines, each of which writes the answers to a piece at once. So a node that is lost loses only the pieces in its hands.
In the directory of one job:

    work.json       which engine answers, and what is asked of it
    asked/N.jsonl   the questions of piece N, each with a key
    said/N.jsonl    the answers to them, by key; it is whole as soon as it is there
    engines.json    how long each engine answered, at the end
    failure.json    why no more is answered, where it failed
    bulk.log        what the program printed
"""

from __future__ import annotations

import dataclasses
import json
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefloop.judging.spec import JudgeSpec

WORK, ASKED, SAID, ENGINES, LOG = "work.json", "asked", "said", "engines.json", "bulk.log"


@dataclass(frozen=True, kw_only=True)
class Draws:
    """What answers to prompts are sampled with."""

    max_tokens: int
    seed: int
    temperature: float
    top_p: float
    top_k: int
    source: str  # the checkpoint's name


@dataclass(frozen=True, kw_only=True)
class Work:
    """One checkpoint's engines, and what is asked of them: to judge pairs, or to answer prompts.

    An engine has `threads` processor cores and `cards` cards; there are at most `engines` of them. `folder`: where the
    measurement is kept that `precision` may need, and the logs of vLLM servers.
    """

    checkpoint: str  # model directory
    engine: str
    at_once: int  # questions in flight at one engine
    engines: int
    cards: int
    threads: int
    precision: str
    folder: str
    vllm_python: str = ""
    vllm_arguments: tuple[str, ...] = ()
    judge: JudgeSpec | None = None
    draws: Draws | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """The answer to the question with this key, as plain values, and the seconds that it took."""

    key: str
    said: Mapping[str, Any]
    seconds: float


def write_work(directory: Path, work: Work, pieces: Sequence[Sequence[tuple[str, Mapping[str, Any]]]]) -> None:
    """Write down what is asked: the questions of each piece, each with its key."""
    for name in (ASKED, SAID):
        (directory / name).mkdir(parents=True)
    for number, piece in enumerate(pieces):
        _write_lines(directory / ASKED / f"{number}.jsonl", ({"key": key, "question": one} for key, one in piece))
    (directory / WORK).write_text(json.dumps(dataclasses.asdict(work)), "utf-8")


def read_work(directory: Path) -> Work:
    data = json.loads((directory / WORK).read_text("utf-8"))
    judge, draws = data.pop("judge"), data.pop("draws")
    return Work(
        **{**data, "vllm_arguments": tuple(data["vllm_arguments"])},
        judge=None if judge is None else JudgeSpec.from_json(judge),
        draws=None if draws is None else Draws(**draws),
    )


def pieces_left(directory: Path) -> list[int]:
    """Number the pieces that nobody has answered yet."""
    numbers = sorted(int(path.stem) for path in (directory / ASKED).glob("*.jsonl"))
    return [number for number in numbers if not said_path(directory, number).exists()]


def said_path(directory: Path, number: int) -> Path:
    return directory / SAID / f"{number}.jsonl"


def read_asked(directory: Path, number: int) -> list[tuple[str, dict[str, Any]]]:
    return [(one["key"], one["question"]) for one in _read_lines(directory / ASKED / f"{number}.jsonl")]


def write_said(directory: Path, number: int, said: Sequence[Said]) -> None:
    """Write the answers to a piece; whoever looks sees all of them or none."""
    path = said_path(directory, number)
    temporary = path.with_name(f".{number}.{uuid.uuid4().hex}")
    _write_lines(temporary, map(dataclasses.asdict, said))
    temporary.replace(path)


def read_said(path: Path) -> list[Said]:
    return [Said(**one) for one in _read_lines(path)]


def _write_lines(path: Path, values: Any) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(value) + "\n" for value in values)
        file.flush()
        os.fsync(file.fileno())


def _read_lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)
