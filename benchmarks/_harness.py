"""What the benchmarks share: a pinned process a side, taken in turns, and what is printed.

Each side works in a process of its own, pinned to one core with one thread, and answers requests (a JSON line each).
While one works the other waits, and they take turns, so that both see the same machine; a figure is the best of the
rounds, which is what the machine allows.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "var" / "bench-cache"
ROUNDS = 5
CLOCK = "PREFLOOP_BENCH_CLOCK"


class NotTheSame(Exception):
    """The two sides did not do the same work, so their speeds can't be compared."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One measured claim: `ratio` says how much better ours is than the peer, however the unit counts."""

    claim: str
    ours: float
    peer: float
    unit: str
    ratio: float
    wanted: float
    holds: bool

    @classmethod
    def at_least(cls, claim: str, ours: float, peer: float, unit: str, wanted: float) -> Claim:
        """Ours must be at least `wanted` times the peer's: a speed."""
        ratio = ours / peer
        return cls(claim, ours, peer, unit, ratio, wanted, ratio >= wanted)

    @classmethod
    def at_most(cls, claim: str, ours: float, peer: float, unit: str, wanted: float) -> Claim:
        """Ours must be at most `wanted` times the peer's: memory."""
        ratio = ours / peer
        return cls(claim, ours, peer, unit, ratio, wanted, ratio <= wanted)


class Side:
    """A process that answers requests: `python -m MODULE`, pinned to `core` (None leaves it where it is).

    `interpreter`: of another environment, ours without one.
    """

    def __init__(
        self, module: str, *, core: int | None, environment: Mapping[str, str] | None = None, interpreter: str = ""
    ) -> None:
        command = [interpreter or sys.executable, "-m", module]
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        settings = {**os.environ, "PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
        settings |= {"HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error"}
        if core is not None:
            command = ["taskset", "-c", str(core), *command]
            settings |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**settings, **(environment or {})}
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request, wait for the answer; raises RuntimeError with what went wrong on the other side."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the side ended with {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve(answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Be a side: answer requests from stdin until it closes. What libraries print goes to stderr."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            said = answer(json.loads(line))
        except Exception as error:  # noqa: BLE001 - the process boundary: the other side raises it
            import traceback

            said = {"error": f"{error!r}\n{traceback.format_exc()}"}
        out.write(json.dumps(said) + "\n")
        out.flush()


def peak_bytes() -> int:
    """Return the most memory that this process ever had resident: code, libraries, everything."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmHWM in /proc/self/status")


def in_turns(asks: Mapping[str, Callable[[], Any]], rounds: int = ROUNDS) -> dict[str, list[Any]]:
    """Ask each side in turn, `rounds` times, beginning with another one each round."""
    answers: dict[str, list[Any]] = {name: [] for name in asks}
    names = list(asks)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            answers[name].append(asks[name]())
    return answers


def spread(name: str, rates: Mapping[str, Sequence[float]]) -> str:
    """Say what the rounds of both sides gave: medians, their ratio, and how busy the machine was meanwhile."""
    middle = {side: median(found) for side, found in rates.items()}
    ours, peer = middle.values()
    said = ", ".join(f"{side} {value:.4g}" for side, value in middle.items())
    return (
        f"{name}: medians of {len(rates['ours'])} rounds {said}, ratio {ours / peer:.2f}; load {os.getloadavg()[1]:.1f}"
    )


def last_core() -> int:
    return max(os.sched_getaffinity(0))


def now(device: str) -> float:
    """Read the side's clock, in seconds: the wall's, or with `--clock cpu` what this process has computed."""
    if device != "cpu":
        import torch

        torch.cuda.synchronize()
    return time.process_time() if os.environ.get(CLOCK) == "cpu" else time.perf_counter()


def matrix_peak(device: str, dtype: str, sizes: Sequence[int] = (512, 1024, 1536, 2048)) -> float:
    """Measure the best rate of a matrix product here, in FLOP/s, with this process's threads."""
    import torch

    best = 0.0
    if device != "cpu":
        sizes = (4096, 8192)
    for size in sizes:
        a = torch.randn(size, size, device=device, dtype=getattr(torch, dtype))
        b, out = torch.randn_like(a), torch.empty_like(a)
        for _ in range(12):
            started = now(device)
            torch.mm(a, b, out=out)
            best = max(best, 2 * size**3 / (now(device) - started))
    return best


def report(claims: Sequence[Claim], notes: Sequence[str], *, as_json: bool) -> int:
    """Print the claims; returns the exit status, 0 where all hold."""
    if as_json:
        print(json.dumps([asdict(claim) for claim in claims], indent=1))
    else:
        rows = [("claim", "ours", "peer", "unit", "ratio", "wanted", "holds")]
        for c in claims:
            numbers = (f"{c.ours:.4g}", f"{c.peer:.4g}", c.unit, f"{c.ratio:.2f}", f"{c.wanted:g}")
            rows.append((c.claim, *numbers, "yes" if c.holds else "no"))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        for note in notes:
            print(note)
    return 0 if all(claim.holds for claim in claims) else 1


def arguments(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the claims as JSON")
    parser.add_argument("--model", action="append", help="only this model (may be given again)")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu counts each side's own processor seconds: for a CPU that others use too",
    )
    return parser


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the command line; the sides, which inherit the environment, read the same clock."""
    options = parser.parse_args()
    if options.clock == "cpu" and options.device != "cpu":
        parser.error("--clock cpu says nothing about a GPU")
    os.environ[CLOCK] = options.clock
    return options
