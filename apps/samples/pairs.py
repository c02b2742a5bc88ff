"""Making comparisons from the answers of a sampling run: which pairs people and judges will compare."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from django.db import transaction
from django.db.models import Count, QuerySet

from apps.core.chunks import chunks
from apps.core.listeners import Listeners
from apps.projects.models import Project
from apps.prompts.models import ready
from apps.samples.models import Comparison, Completion, SamplingRun
from apps.samples.services import BadComparison, comparisons_create
from prefloop.answers import same_answer
from prefloop.seeds import derive_seed

PAIRINGS = ("two", "random", "all")
MOST_PAIRS = 20_000  # comparisons made at once
MOST_PER_PROMPT = 100
# told after answers were paired, with their prompts
ANSWERS_PAIRED: Listeners[[Project, Sequence[int]]] = Listeners()


@dataclass(frozen=True, slots=True)
class MadeComparisons:
    n_new: int
    n_there: int  # pairs that were comparisons already
    n_same: int  # pairs left out because both answers say the same


def comparisons_from_run(*, run: SamplingRun, pairing: str, per_prompt: int = 1, seed: int = 0) -> MadeComparisons:
    """Make comparisons from a run's answers: `two` (the first two of each prompt), `random` (so many pairs per prompt,
    drawn by the seed) or `all` (at most so many per prompt, in order). Pairs of equal texts are left out.

    Raises BadComparison.
    """
    return _compare(run.project, run.completions.all(), pairing=pairing, per_prompt=per_prompt, seed=seed)


def comparisons_from_answers(*, project: Project, per_prompt: int = 1, seed: int = 0) -> MadeComparisons:
    """Make so many random pairs per prompt from all answers of the project but edited ones. Raises BadComparison."""
    answers = _askable(project)
    return _compare(project, answers, pairing="random", per_prompt=per_prompt, seed=seed)


def _askable(project: Project) -> QuerySet[Completion]:
    """The answers that people may be asked about blind: none that somebody here wrote by editing another."""
    return Completion.objects.filter(ready(), project=project, parent=None)


def n_comparable(project: Project) -> int:
    """How many prompts have two different answers to compare."""
    answers = _askable(project).order_by().values("prompt")
    return answers.annotate(n=Count("text", distinct=True)).filter(n__gte=2).count()


def pairing_of(text: str) -> tuple[str, int]:
    """Read a pairing with its number of pairs per prompt, as in a command: "two", "random:3", "all:10".

    Raises BadComparison.
    """
    name, colon, number = text.partition(":")
    if name not in PAIRINGS or (colon and not (number.isascii() and number.isdigit())) or (name == "two" and colon):
        raise BadComparison(f"pairs must be two, random:K or all:K (at most K pairs per prompt), not {text!r}")
    return name, int(number) if colon else (MOST_PER_PROMPT if name == "all" else 1)


def _compare(
    project: Project, answers: QuerySet[Completion], *, pairing: str, per_prompt: int, seed: int
) -> MadeComparisons:
    if pairing not in PAIRINGS:
        raise BadComparison(f"there is no pairing {pairing!r}; there are: {', '.join(PAIRINGS)}")
    if not 1 <= per_prompt <= MOST_PER_PROMPT:
        raise BadComparison(f"pairs per prompt must be between 1 and {MOST_PER_PROMPT}, not {per_prompt}")
    groups: dict[int, list[Completion]] = defaultdict(list)
    for completion in answers.order_by("prompt_id", "run_id", "index", "id").defer("token_ids", "metadata"):
        groups[completion.prompt_id].append(completion)
    if not groups:
        raise BadComparison("there are no answers yet: wait for the first ones")
    if all(len(group) < 2 for group in groups.values()):
        raise BadComparison("a comparison needs two answers to one prompt: sample again with 2 answers or more")
    chosen: list[tuple[Completion, Completion]] = []
    n_same = 0
    for prompt_id, group in groups.items():
        wanted = _wanted(group, pairing=pairing, per_prompt=per_prompt, seed=derive_seed(seed, "pairs", prompt_id))
        different = [(a, b) for a, b in wanted if not same_answer(a.text, b.text)]
        n_same += len(wanted) - len(different)
        chosen += different
    if len(chosen) > MOST_PAIRS:
        raise BadComparison(f"these would be {len(chosen):,} comparisons; {MOST_PAIRS:,} is the most at once")
    with transaction.atomic():
        there = _known(chosen)
        made = comparisons_create(project=project, pairs=chosen, origin="manual")
        ANSWERS_PAIRED.tell(project, list(groups))
    return MadeComparisons(n_new=len(made) - there, n_there=there, n_same=n_same)


def _wanted(
    group: list[Completion], *, pairing: str, per_prompt: int, seed: int
) -> list[tuple[Completion, Completion]]:
    if pairing == "two":
        return list(itertools.combinations(group[:2], 2))
    n_pairs = len(group) * (len(group) - 1) // 2
    if pairing == "all" or n_pairs <= per_prompt:
        return list(itertools.islice(itertools.combinations(group, 2), per_prompt))
    random = Random(seed)
    picked: dict[tuple[int, int], None] = {}  # in the order drawn
    while len(picked) < per_prompt:  # fewer are wanted than there are, so this ends
        a, b = sorted(random.sample(range(len(group)), 2))
        picked[(a, b)] = None
    return [(group[a], group[b]) for a, b in picked]


def _known(pairs: list[tuple[Completion, Completion]]) -> int:
    keys = {(min(a.pk, b.pk), max(a.pk, b.pk)) for a, b in pairs}
    found = 0
    for part in chunks(sorted({first for first, _ in keys}), 500):
        rows = Comparison.objects.filter(first_id__in=part).values_list("first_id", "second_id")
        found += sum(1 for key in rows if key in keys)
    return found
