"""The cards that a worker owns: no other worker of this machine uses them, and its children see no others."""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from django.conf import settings

from apps.jobs.identity import host_name
from apps.jobs.wants import OWNED
from prefloop.types import PrefloopError

VISIBLE = "CUDA_VISIBLE_DEVICES"
RELEASED_SECONDS = 5.0  # that children of a worker that was killed may hold its cards
_held: list[IO[str]] = []  # locks, until this process ends


class CardsRefused(PrefloopError):
    """Cards that can't be owned, and why."""


def parse(text: str) -> list[str]:
    """Read cards as CUDA_VISIBLE_DEVICES names them: 0,1 or GPU-8932f937,…. Raises CardsRefused."""
    cards = [card.strip() for card in text.split(",") if card.strip()]
    wrong = [card for card in cards if not re.fullmatch(r"\d+|(GPU|MIG)-[\w/.-]+", card)]
    if not cards or wrong or len(set(cards)) < len(cards):
        raise CardsRefused(f"--gpus must name each card once, as in 0,1 or GPU-8932f937, not {text!r}")
    return cards


def shared_out(cards: Sequence[str], *, each: int) -> list[list[str]]:
    """Give workers `each` cards, which the processes of one run use together. Raises CardsRefused."""
    if len(cards) % each:
        raise CardsRefused(f"--gpus names {len(cards)} cards, which PREFLOOP_PROCESSES={each} does not divide")
    return [list(cards[at : at + each]) for at in range(0, len(cards), each)]


def own(cards: Sequence[str] | None) -> list[str]:
    """Own these cards (None: what CUDA_VISIBLE_DEVICES names, else all) until this process ends.

    Raises CardsRefused if another worker of this machine owns one.
    """
    if cards is None:
        named = os.environ.get(VISIBLE)
        cards = _all() if named is None else [card.strip() for card in named.split(",") if card.strip()]
    locks: list[IO[str]] = []
    try:
        for card in cards:
            locks.append(_lock(card))
    except CardsRefused:
        for lock in locks:
            lock.close()
        raise
    _held.extend(locks)
    if cards:
        os.environ[VISIBLE] = ",".join(cards)
        os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # 0 is the same card for everybody
        os.environ[OWNED] = str(len(cards))
    return list(cards)


def _all() -> list[str]:
    return sorted((path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*")), key=int)


def _lock(card: str) -> IO[str]:
    folder = Path(settings.VAR_DIR) / "cards"
    folder.mkdir(mode=0o700, exist_ok=True)
    lock = (folder / re.sub(r"[^\w.-]", "_", f"{host_name()}-{card}")).open("a+")
    until = time.monotonic() + RELEASED_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < until:
                time.sleep(0.1)
                continue
            lock.seek(0)
            owner = lock.read().strip() or "of another process"
            lock.close()
            raise CardsRefused(
                f"card {card} is owned by the worker {owner} of this machine: give each its own, worker --gpus 0, "
                "worker --gpus 1, …, or all to up --gpus 0,1,…"
            ) from None
        break
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock
