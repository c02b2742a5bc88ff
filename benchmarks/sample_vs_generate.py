"""Tokens a second of 16 samples a prompt, ours against `generate` of transformers as its users run it.

    python benchmarks/sample_vs_generate.py [--json] [--model letters] [--model 40m]
    python benchmarks/sample_vs_generate.py --device cuda --dtype bfloat16 --model 0.5b

Same weights, prompts, precision and limits; one pinned thread a side, in turns, best of five. Only tokens up to a stop
count. Before anything is timed both sides' draws of the first token of one prompt must pass a chi-squared test against
the exact law. The exit status is 1 where a claim does not hold.

Where vLLM is installed (`make vllm`) its tokens a second on the same prompts and core are printed too, by the wall's
clock: it computes in processes of its own.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from scipy import stats

from benchmarks._harness import (
    ROOT,
    Claim,
    NotTheSame,
    Side,
    arguments,
    in_turns,
    last_core,
    parse,
    report,
    spread,
)
from benchmarks._models import model_dir, prompt_texts
from config.env import vllm_python

SIDES = "benchmarks._sample_sides"
N_SAMPLES = 16
P_LEAST = 1e-3


@dataclass(frozen=True, slots=True)
class Plan:
    """How one model is measured: prompts in a call, tokens at most a sample."""

    model: str
    n_prompts: int
    max_tokens: int
    wanted: float
    n_draws: int = 2_000


PLANS = {
    "letters": Plan("letters", n_prompts=32, max_tokens=96, wanted=2.0),
    "40m": Plan("40m", n_prompts=2, max_tokens=64, wanted=2.0, n_draws=200),
    "0.5b": Plan("0.5b", n_prompts=16, max_tokens=64, wanted=2.0),
    "smollm2": Plan("smollm2", n_prompts=2, max_tokens=64, wanted=2.5, n_draws=100),
    "tiny": Plan("tiny", n_prompts=2, max_tokens=4, wanted=1.0),
}


def p_value(counts: dict[str, int], law: list[float]) -> float:
    """Chi-squared of counts of tokens against their law; tokens that are expected less than 5 times are one bin."""
    total = sum(counts.values())
    expected = np.asarray(law) / np.sum(law) * total
    observed = np.zeros(len(law))
    for token, count in counts.items():
        observed[int(token)] = count
    common = expected >= 5
    bins = np.append(observed[common], observed[~common].sum()), np.append(expected[common], expected[~common].sum())
    if bins[1][-1] < 5:  # too little for a bin of its own: with the last common token
        bins = tuple(np.append(part[:-2], part[-2:].sum()) for part in bins)  # type: ignore[assignment]
    if len(bins[0]) < 2:
        return 1.0
    return float(stats.chisquare(bins[0], bins[1] * bins[0].sum() / bins[1].sum()).pvalue)


def measure(plan: Plan, *, device: str, dtype: str, rounds: int, vllm_by: str = "") -> tuple[list[Claim], list[str]]:
    """Check the distributions, then time both; raises NotTheSame where a side does not follow the law.

    `vllm_by`: the interpreter that has vLLM, "" to leave it out.
    """
    core = last_core() if device == "cpu" else None
    name = f"{plan.model}, {device} {dtype}"
    prompts = prompt_texts(plan.model, plan.n_prompts)
    same = {"model": str(model_dir(plan.model)), "device": device, "dtype": dtype}
    draws = {**same, "prompts": prompts[:1], "n": plan.n_draws, "max_tokens": 1, "seed": 7}
    job = {**same, "prompts": prompts, "n": N_SAMPLES, "max_tokens": plan.max_tokens}
    with Side(SIDES, core=core) as us, Side(SIDES, core=core) as peer:
        law = us.ask(do="law", prompt=prompts[0], **same)["law"]
        fits = [p_value(us.ask(do="ours", **draws)["first"], law)]
        fits.append(p_value(peer.ask(do="transformers", **draws)["first"], law))
        if min(fits) < P_LEAST:
            raise NotTheSame(f"{name}: draws do not follow the law, p = {fits[0]:.2g} (ours), {fits[1]:.2g} (peer)")
        for side, what in ((us, "ours"), (peer, "transformers")):
            side.ask(do=what, seed=0, **job)  # warm
        seeds = iter(range(1, 10**6))
        found = in_turns(
            {
                "ours": lambda: us.ask(do="ours", seed=next(seeds), **job),
                "peer": lambda: peer.ask(do="transformers", seed=next(seeds), **job),
            },
            rounds,
        )
        work = us.ask(do="work", prompts=prompts, **same)
        vllm = _vllm(us, job, core, rounds, vllm_by) if vllm_by else ""
    every = {side: [a["tokens"] / a["seconds"] for a in answers] for side, answers in found.items()}
    rates = {side: max(values) for side, values in every.items()}
    claim = Claim.at_least(
        f"sample {N_SAMPLES} a prompt, {name}", rates["ours"], rates["peer"], "tokens/s", plan.wanted
    )
    lengths = [answer["tokens"] / plan.n_prompts / N_SAMPLES for answer in found["ours"] + found["peer"]]
    note = (
        f"{name}: chi-squared of {plan.n_draws} draws p = {fits[0]:.2f} (ours), {fits[1]:.2f} (peer); "
        f"{min(lengths):.1f} to {max(lengths):.1f} tokens a sample"
    )
    share = rates["ours"] * work["token_flops"] / work["peak"]
    peak = f"{name}: MFU {share:.2f} of a measured matrix peak of {work['peak'] / 1e9:.0f} GFLOP/s"
    return [claim], [note, spread(f"{name}, tokens/s", every), peak, *([f"{name}: {vllm}"] if vllm else [])]


def _vllm(us: Side, job: dict[str, Any], core: int | None, rounds: int, python: str) -> str:
    """Time vLLM's CPU build in turns with ours."""
    settings = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": str(core), "VLLM_NO_USAGE_STATS": "1"}
    with Side("benchmarks._vllm_side", core=core, environment=settings, interpreter=python) as theirs:
        theirs.ask(**job, seed=0)  # warm
        seeds = iter(range(1, 10**6))
        found = in_turns(
            {
                "ours": lambda: us.ask(do="ours", seed=next(seeds), **job),
                "vLLM": lambda: theirs.ask(seed=next(seeds), **job),
            },
            rounds,
        )
    ours, vllm = (max(a["tokens"] / a["seconds"] for a in found[side]) for side in ("ours", "vLLM"))
    return f"beside vLLM's CPU build: ours {ours:.1f}, vLLM {vllm:.1f} tokens/s, ratio {ours / vllm:.2f}"


def main() -> int:
    options = parse(arguments(__doc__ or ""))
    claims: list[Claim] = []
    notes: list[str] = []
    vllm_by = vllm_python(ROOT) if options.device == "cpu" and options.clock == "wall" else ""
    for model in options.model or ["letters", "40m"]:
        found, said = measure(
            PLANS[model], device=options.device, dtype=options.dtype, rounds=options.rounds, vllm_by=vllm_by
        )
        claims, notes = claims + found, notes + said
    return report(claims, notes, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
