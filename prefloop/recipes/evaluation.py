"""How a round's policy is measured; part of every recipe that trains one.

Source of the measures: win rates as in the recipes' own papers; at equal lengths as in Dubois et al. 2024,
arXiv:2404.04475; people and a judge together as in Angelopoulos et al. 2023, arXiv:2301.09633.
"""

from __future__ import annotations

from dataclasses import dataclass

from prefloop.config import setting
from prefloop.recipes.parts import Part

TRUTH = "truth"  # the world's utility
NOBODY = "none"


@dataclass(frozen=True, kw_only=True)
class Evaluation(Part):
    """Who measures, on how many held-out prompts, with how many answers."""

    judge: str = setting(
        "",
        help="Who compares the new policy's answers with those of the starting policy and the previous round: truth, "
        "if the project's world has one; the name of a judge; none for KL and length only. Empty means the truth, "
        "else a judge that did not label the training data, else the one that did.",
    )
    prompts: int = setting(0, minimum=0, help="Number of held-out prompts to answer, drawn by the seed; 0 means all.")
    n: int = setting(
        4, minimum=2, maximum=64, help="Answers for each held-out prompt; a judge compares each of them once."
    )
    people: int = setting(
        0,
        minimum=0,
        maximum=10_000,
        help="Number of answer pairs, new against starting policy, that people compare blind in Annotate. Their votes "
        "correct the judge's win rate (prediction-powered inference) and are never trained on.",
    )
    every: int = setting(
        0,
        minimum=0,
        maximum=1_000_000,
        help="Training steps after which the policy is measured on the way too, each time like the round's result; 0 "
        "measures the result alone. Each of these policies is kept as a checkpoint.",
    )
