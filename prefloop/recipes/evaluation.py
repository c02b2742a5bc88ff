"""How a round's policy is measured: a part of every recipe that trains one.

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
    """Who measures, on how many held-out prompts, by how many answers."""

    judge: str = setting(
        "",
        help="Who says which answer is better, the new policy's or the start's (and the previous round's): truth, "
        "where the project's world has one; a judge's name; none measures KL and length alone. Empty takes the truth, "
        "else a judge that labelled nothing of this training, else the one that did.",
    )
    prompts: int = setting(0, minimum=0, help="Held-out prompts that are answered, drawn by the seed; 0 takes all.")
    n: int = setting(
        4, minimum=2, maximum=64, help="Answers for each held-out prompt; a judge compares each of them once."
    )
    people: int = setting(
        0,
        minimum=0,
        maximum=10_000,
        help="Pairs of answers, new against start, that people are given blind in Annotate. What they say corrects the "
        "judge's win rate (prediction-powered inference) and is never trained on.",
    )
