"""Pairs a second of DPO, the engine against TRL's DPOTrainer as its users run it, and the memory that each takes.

    python benchmarks/train_vs_trl.py [--json] [--model letters] [--model 40m]
    python benchmarks/train_vs_trl.py --device cuda --dtype bfloat16 --model 0.5b

Both train the same model on the same token ids in the same order with AdamW at the same rates, in fp32 on a CPU, one
pinned thread a side, in turns, best of five. TRL has its defaults (gradient checkpointing among them) but for what must
be equal: batch, rate, precision, order. Before anything is timed the losses of the first ten steps must agree (of four
with SmolLM2).
`reference counted` adds each side's reference pass to its training; `reference precomputed` leaves out both.
`make bench-setup` installs the peer. The exit status is 1 where a claim does not hold.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks._harness import Claim, NotTheSame, Side, arguments, in_turns, last_core, parse, report, spread
from benchmarks._models import model_dir, pairs_file

SIDES = "benchmarks._train_sides"
WARM = 1  # steps before the clock starts
N_CHECKED, TOLERANCE = 10, 1e-4
BF16_TOLERANCE = (
    0.02  # bf16 rounds at other places on each side: the first loss is log 2, the others differ in the third digit
)
MFU = 0.5


@dataclass(frozen=True, slots=True)
class Plan:
    """How one model is measured: pairs a step, steps on the clock, and what is claimed of it."""

    model: str
    batch: int
    timed: int
    lr: float
    wanted: float
    mfu: float | None = None
    memory: float | None = None
    bf16_tolerance: float = BF16_TOLERANCE
    checked: int = N_CHECKED


PLANS = {
    "letters": Plan("letters", batch=32, timed=4, lr=1e-4, wanted=3.0),
    "40m": Plan("40m", batch=4, timed=1, lr=1e-5, wanted=2.5, mfu=MFU, memory=0.6),
    "0.5b": Plan("0.5b", batch=16, timed=6, lr=1e-6, wanted=2.5),
    # a batch as large as TRL's default; in bf16 a loss may differ by half a nat in a sum of 60 log-probs, times beta
    "smollm2": Plan(
        "smollm2", batch=8, timed=1, lr=1e-6, wanted=3.0, mfu=MFU, memory=0.6, bf16_tolerance=0.25, checked=4
    ),
    "tiny": Plan("tiny", batch=2, timed=1, lr=1e-4, wanted=1.0, memory=1.0),
}


def measure(
    plan: Plan, *, device: str, dtype: str, rounds: int, tolerance: float = TOLERANCE
) -> tuple[list[Claim], list[str]]:
    """Check that both sides do the same work, then time them; raises NotTheSame where they don't."""
    core = last_core() if device == "cpu" else None
    name = f"{plan.model}, {device} {dtype}"
    with Side(SIDES, core=core) as us, Side(SIDES, core=core) as peer:
        checked = plan.checked
        check = _job(plan, timed=checked - WARM - 1, device=device, dtype=dtype)
        work = us.ask(do="our_work", **check)
        mine, theirs = us.ask(do="ours", **check), peer.ask(do="trl", record_losses=True, **check)
        if work["tokens_sha256"] != theirs["tokens_sha256"]:
            raise NotTheSame(f"{name}: the two sides train on other token ids")
        gap = max(abs(a - b) for a, b in zip(mine["losses"], theirs["losses"], strict=True))
        if not gap <= tolerance:
            raise NotTheSame(f"{name}: the losses differ by {gap:.2g}: {mine['losses']} and {theirs['losses']}")
        notes = [
            f"{name}: {work['weights']:,} weights, batch {plan.batch}; losses agree to {gap:.1g} in {checked} steps"
        ]
        job = _job(plan, timed=plan.timed, device=device, dtype=dtype)
        asks: dict[str, Callable[[], Any]] = {
            "ours": lambda: us.ask(do="ours", **job),
            "counted": lambda: peer.ask(do="trl", **job),
            "precomputed": lambda: peer.ask(do="trl", precompute=True, **job),
        }
        found = in_turns(asks, rounds)
        peak = us.ask(do="matrix_peak", device=device, dtype=dtype)["flops"]
    n_pairs = plan.timed * plan.batch
    rates = {
        "ours": [n_pairs / (a["step_seconds"] + a["reference_seconds"]) for a in found["ours"]],
        "TRL": [n_pairs / answer["step_seconds"] for answer in found["counted"]],
    }
    notes.append(spread(f"{name}, pairs/s, reference counted", rates))
    counted = min(answer["step_seconds"] + answer["reference_seconds"] for answer in found["ours"]) / n_pairs
    stepped = min(answer["step_seconds"] for answer in found["ours"]) / n_pairs
    peers = {key: min(a["step_seconds"] for a in found[key]) / n_pairs for key in ("counted", "precomputed")}
    claims = [
        Claim.at_least(f"DPO {name}, reference counted", 1 / counted, 1 / peers["counted"], "pairs/s", plan.wanted),
        Claim.at_least(
            f"DPO {name}, reference precomputed", 1 / stepped, 1 / peers["precomputed"], "pairs/s", plan.wanted
        ),
    ]
    share = work["train_flops"] / stepped / peak
    if plan.mfu is not None:
        claims.append(Claim.at_least(f"DPO {name}, share of the matrix peak", share, 1.0, "MFU", plan.mfu))
    notes.append(f"{name}: MFU {share:.2f} of a measured matrix peak of {peak / 1e9:.0f} GFLOP/s")
    if plan.memory is not None or device != "cpu":
        claim, note = _memory(plan, name, device, dtype, core)
        notes.append(note)
        claims += [claim] if plan.memory is not None else []
    return claims, notes


def _memory(plan: Plan, name: str, device: str, dtype: str, core: int | None) -> tuple[Claim, str]:
    """Peak memory of a run in a fresh process a side, libraries and all; on a GPU that of its allocator."""
    key = "peak_bytes" if device == "cpu" else "device_bytes"
    job = _job(plan, timed=1, device=device, dtype=dtype)
    peaks = []
    for what in ("ours", "trl"):
        with Side(SIDES, core=core) as side:
            side.ask(do=what, **job)
            peaks.append(side.ask(do="memory")[key] / 2**20)
    claim = Claim.at_most(f"DPO {name}, peak memory", peaks[0], peaks[1], "MiB", plan.memory or 1.0)
    return claim, f"{name}: peak memory {peaks[0]:.0f} MiB against {peaks[1]:.0f} MiB"


def _job(plan: Plan, *, timed: int, device: str, dtype: str) -> dict[str, Any]:
    n_pairs = plan.batch * (WARM + timed + 1)
    return {
        "model": str(model_dir(plan.model)),
        "pairs": str(pairs_file(plan.model, n_pairs)),
        "n_pairs": n_pairs,
        "batch": plan.batch,
        "warm": WARM,
        "timed": timed,
        "lr": plan.lr,
        "device": device,
        "dtype": dtype,
    }


def main() -> int:
    options = parse(arguments(__doc__ or ""))
    claims: list[Claim] = []
    notes: list[str] = []
    for model in options.model or ["letters", "40m"]:
        tolerance = TOLERANCE if options.dtype == "float32" else PLANS[model].bf16_tolerance
        found, said = measure(
            PLANS[model], device=options.device, dtype=options.dtype, rounds=options.rounds, tolerance=tolerance
        )
        claims, notes = claims + found, notes + said
    return report(claims, notes, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
