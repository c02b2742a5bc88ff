"""A study's verdict in words. Every number comes from its report."""

from __future__ import annotations

from typing import Any

VERDICTS = {"held": "Held", "did not hold": "Did not hold", "undecided": "Not decidable at this size"}


def sentence(report: dict[str, Any]) -> str:
    """Say in one sentence whether the finding held here, by the numbers of each claim."""
    if report["state"] == "not started":
        return "Not run in this project yet."
    if not report["seeds_complete"]:
        return (
            f"Nothing to decide yet: {report['n_done']} of {report['n_runs']} runs are done, and no seed is complete."
        )
    said = "; ".join(claim_words(claim) for claim in report["claims"])
    return f"{VERDICTS[report['verdict']]}: {said} ({size(report)})."


def claim_words(claim: dict[str, Any]) -> str:
    """Say a claim's verdict with its number, as part of a sentence."""
    said = {"held": "", "did not hold": "it is not true that ", "undecided": "it is open whether "}[
        claim["verdict"]
    ] + claim["claim"]
    if claim["estimate"] is None:
        return f"{said} ({claim['why']})"
    return f"{said}, {difference(claim)}"


def difference(claim: dict[str, Any]) -> str:
    """Write a claim's number with its interval."""
    estimate, interval = claim["estimate"], claim["interval"]
    if claim["measure"] == "law":
        return f"they differ by at most {estimate:.1e}".replace("-", "\u2212")
    ends = f" [{interval[0]:+.3f}, {interval[1]:+.3f}]" if interval else f" ({claim['why']})"
    return f"{estimate:+.3f}{ends}".replace("-", "\u2212")


def size(report: dict[str, Any]) -> str:
    """Say on how much the verdict rests."""
    n = len(report["seeds_complete"])
    seeds = f"{n} seed{'' if n == 1 else 's'}"
    n_prompts = report["n_prompts"]
    return f"{seeds}, {n_prompts} held-out prompts" if n_prompts and n_prompts > 1 else seeds


FORMS = {"rl": "gold = d (α \u2212 β log d)", "bon": "gold = d (α \u2212 β d)"}


def law_words(law: dict[str, Any]) -> str:
    """Say the law of over-optimisation of an arm: its numbers, and its predicted and observed peak."""
    numbers = ", ".join(
        f"{sign} {law[name]:.3f}" + (f" [{ends[0]:.3f}, {ends[1]:.3f}]" if (ends := law[f"{name}_interval"]) else "")
        for sign, name in (("α", "alpha"), ("β", "beta"))
    )
    predicted = f"at {law['predicted_kl']:.1f} nats" if law["predicted_kl"] is not None else "nowhere"
    observed = f"at {law['observed_kl']:.1f} nats" if law["observed_kl"] is not None else "nowhere"
    said = (
        f"{law['title']}: {FORMS[law['form']]}, d the square root of KL, {numbers}; its peak is predicted {predicted}"
    )
    return f"{said}, and the highest gold was measured {observed}.".replace("-", "\u2212")
