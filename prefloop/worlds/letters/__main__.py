"""`python -m prefloop.worlds.letters --out DIR [--seed 0]`: train the world's policy, with a progress bar."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from prefloop.types import PrefloopError

BAR_WIDTH = 30


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m prefloop.worlds.letters", description="Train the letters world's policy from nothing."
    )
    parser.add_argument("--out", required=True, type=Path, help="a new directory for the model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", choices=("full", "tiny"), default="full")
    parser.add_argument("--letters", type=int, default=None, help="how many letters to learn from")
    parser.add_argument("--threads", type=int, default=None, help="torch's threads (same seed and threads: same model)")
    args = parser.parse_args(argv)

    from transformers.utils import logging as transformers_logging  # slow to import: --help needn't wait for it

    from prefloop.worlds.letters.sft import train_sft

    transformers_logging.disable_progress_bar()
    try:
        result = train_sft(
            args.out,
            seed=args.seed,
            n_letters=args.letters,
            size=args.size,
            threads=args.threads,
            on_progress=progress_bar(sys.stderr.isatty()),
        )
    except PrefloopError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(
        f"{result.path}: {result.n_parameters:,} parameters, {result.n_letters:,} letters, "
        f"loss {result.loss:.3f} nats per token, {result.seconds:.0f} s"
    )
    return 0


def progress_bar(live: bool) -> Callable[[int, int, float], None]:
    """Make a callback that redraws one line (`live`), or else prints a line at every tenth."""
    started = time.monotonic()

    def show(step: int, n_steps: int, loss: float) -> None:
        tenth = step * 10 // n_steps != (step - 1) * 10 // n_steps
        if not tenth and not (live and step % 5 == 0):
            return
        elapsed = time.monotonic() - started
        left = elapsed * (n_steps - step) / step
        bar = "#" * (BAR_WIDTH * step // n_steps)
        line = f"[{bar:<{BAR_WIDTH}}] {step}/{n_steps}  loss {loss:.3f}  {elapsed:.0f} s, {left:.0f} s left"
        end = "\n" if step == n_steps or not live else ""
        print(("\r" if live else "") + line + ("  " if live else ""), end=end, file=sys.stderr, flush=True)

    return show


if __name__ == "__main__":
    sys.exit(main())
