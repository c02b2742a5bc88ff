"""What annotators are asked to do: each task is declared here once, and a guideline's version names one.

A set is a few answers to one prompt that are asked about together; what is said of it is a ranking with ties. A single
answer is rated by the rubric of the guideline's version (prefloop/rubrics.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

FEWEST_IN_SET, MOST_IN_SET, USUAL_IN_SET = 3, 8, 4


@dataclass(frozen=True, slots=True)
class Task:
    """`of_sets`: it is asked of sets of answers; pairs that are in no set are compared as pairs all the same.
    `of_answers`: it is asked of single answers; of pairs only those of evaluations are asked then.
    """

    name: str
    word: str
    about: str
    of_sets: bool = False
    of_answers: bool = False

    @property
    def of_pairs(self) -> bool:
        """Whether it is asked of pairs, and of nothing else."""
        return not self.of_sets and not self.of_answers


PAIR = Task("pair", "Compare two answers", "Which of two answers is better.")
RANKING = Task(
    "ranking", "Rank several answers", "All answers of a set from best to worst; ties are possible.", of_sets=True
)
BEST_WORST = Task(
    "best_worst",
    "Choose the best and the worst",
    "The best and the worst answer of a set; the others count as tied between them.",
    of_sets=True,
)
RATING = Task("rating", "Rate each answer", "Every answer by itself, by each item of a rubric.", of_answers=True)
TASKS: dict[str, Task] = {task.name: task for task in (PAIR, RANKING, BEST_WORST, RATING)}


def refusal(task: Task, groups: Sequence[Sequence[int]], n: int) -> str:
    """Say in one sentence why these groups, best first, are no answer to a set of n under this task; "" if they are."""
    flat = sorted(place for group in groups for place in group)
    if flat != list(range(n)) or not all(groups):
        return f"every one of the {n} answers needs one place in the ranking"
    if task is BEST_WORST and not (len(groups) == 3 and len(groups[0]) == len(groups[-1]) == 1):
        return "one answer must be the best and another one the worst"
    return ""
