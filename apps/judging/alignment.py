"""Align a judge: a new version of it from pairs that people corrected, tried on pairs that it was not made from.

Which of a judge's labelled pairs may be shown to it, and which it is measured on, is fixed for good by
`prefloop.judging.examples.may_align`. Held-out pairs are only ever measured on. The truth of those is the gold, else
the majority of blind votes, as in every figure of a judge; an override is no truth, because whoever gave it had seen
the verdict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any, cast

from django.db import transaction
from django.db.models import F

from apps.accounts.models import User
from apps.core.chunks import chunks
from apps.jobs.services import JobSpec, group_create
from apps.judging.figures import truths
from apps.judging.models import Alignment
from apps.judging.services import BadJudge, check_joint, judge_create, judge_draft, judge_queue
from apps.labels.measured import ALIGNED, is_measured
from apps.labels.models import Judge, Override
from apps.labels.selectors import standing_decisions
from apps.prompts.models import ready
from apps.samples.models import Comparison, comparable
from prefloop.judging.examples import MOST_EXAMPLE_CHARS, MOST_EXAMPLES, Example, can_show, may_align
from prefloop.judging.kinds import ALIGNING
from prefloop.judging.modes import JudgeMode
from prefloop.stats.paired import Paired, paired_shares
from prefloop.types import Outcome, PrefloopError

FEWEST_PAIRS, USUAL_PAIRS, MOST_PAIRS = 2, 200, 2000


class AlreadyUsed(PrefloopError):
    """An alignment that was adopted, or that another version of the judge overtook."""

    http_status = 409


@dataclass(frozen=True, slots=True)
class Correction:
    """A pair that people corrected, which may be shown to the judge."""

    override: Override

    @property
    def comparison(self) -> Comparison:
        return self.override.comparison

    @property
    def example(self) -> Example:
        pair = self.comparison
        outcome = cast(Outcome, self.override.choice)
        return Example(pair.prompt.text, pair.first.text, pair.second.text, outcome, self.override.reason)


def corrections(judge: Judge) -> list[Correction]:
    """Return the pairs that a judge of this kind can be shown, the latest decision first."""
    rows = (
        standing_decisions(judge.criterion_name)
        .filter(ready("comparison__"), comparable("comparison__"))
        .filter(judge__project=judge.project_id, judge__name=judge.name, kind="override", comparison__held_out=False)
        .exclude(choice=F("judge_outcome"))
        .exclude(comparison__prompt__split="eval")
        .select_related("comparison__prompt", "comparison__first", "comparison__second")
        .order_by("-id")
    )
    found: dict[int, Correction] = {}
    for row in rows:
        if can_show(cast(JudgeMode, judge.mode), row.choice) and may_align(judge.name, row.comparison.prompt.text):
            found.setdefault(row.comparison_id, Correction(row))
    return list(found.values())


def reasons_given(found: Sequence[Correction]) -> list[tuple[str, int]]:
    """Return the reasons that people gave for these corrections, the most frequent first."""
    return Counter(one.override.reason.strip() for one in found if one.override.reason.strip()).most_common(20)


def truths_measured(judge: Judge) -> dict[int, str]:
    """Return the truth of each comparison that a judge is measured on."""
    gold, people, _ = truths(judge.project, judge.criterion_name)
    known = people | gold
    found: dict[int, str] = {}
    for ids in chunks(sorted(known), 500):
        rows = Comparison.objects.filter(pk__in=ids).values_list("id", "prompt__text", "prompt__split")
        found.update((key, known[key]) for key, text, split in rows if is_measured(judge.name, text, split))
    return found


def alignment_start(
    *,
    judge: Judge,
    comparison_ids: Sequence[int],
    criterion: str,
    n: int = USUAL_PAIRS,
    seed: int = 0,
    started_by: User | None = None,
) -> Alignment:
    """Try a next version of a judge that is shown these corrected pairs, with this criterion. Raises BadJudge."""
    check_joint(judge, ALIGNING)
    if judge.retired_at is not None:
        raise BadJudge(f"judge {judge.name!r} is retired")
    if not 1 <= n <= MOST_PAIRS:
        raise BadJudge(f"it is tried on 1 to {MOST_PAIRS:,} pairs")
    if not criterion.strip():
        raise BadJudge("a judge needs a criterion: what makes an answer better?")
    examples = _examples(judge, comparison_ids)
    if not examples and criterion.strip() == judge.criterion.strip():
        raise BadJudge("nothing would change: choose corrected pairs, or add to the criterion")
    truth = truths_measured(judge)
    chosen = sorted(truth)
    Random(seed).shuffle(chosen)
    chosen = sorted(chosen[:n])
    if len(chosen) < FEWEST_PAIRS:
        raise BadJudge(
            f"there are {len(chosen)} pairs that {judge.name!r} may be measured on: it needs pairs with gold or with "
            "blind votes, of prompts that it is not shown"
        )
    alignment = Alignment(
        judge=judge,
        criterion=criterion,
        examples=examples,
        pairs=[{"comparison": key, "truth": truth[key]} for key in chosen],
        seed=seed,
        started_by=started_by,
    )
    draft_of(alignment)  # raises what would be wrong with the version
    with transaction.atomic():
        alignment.save()
        alignment.group = group_create(
            project=judge.project,
            name=f"alignment of {judge.name}",
            jobs=[
                JobSpec(
                    kind="judging.align",
                    queue=judge_queue(judge),
                    payload={"alignment": alignment.pk},
                    title=f"Try {judge.name} with corrections",
                    unique_key=f"align:{alignment.pk}",
                )
            ],
            started_by=started_by,
        )
        alignment.save(update_fields=["group"])
    return alignment


def _examples(judge: Judge, comparison_ids: Sequence[int]) -> list[dict[str, Any]]:
    wanted = list(dict.fromkeys(comparison_ids))
    if len(wanted) > MOST_EXAMPLES:
        raise BadJudge(f"a judge is shown at most {MOST_EXAMPLES} pairs")
    found = {one.comparison.pk: one for one in corrections(judge)}
    if missing := [key for key in wanted if key not in found]:
        raise BadJudge(
            f"comparison {missing[0]} can't be shown to {judge.name!r}: nobody corrected it, or the judge is measured "
            "on its prompt"
        )
    if sum(found[key].example.n_chars for key in wanted) > MOST_EXAMPLE_CHARS:
        raise BadJudge(f"these pairs have more than {MOST_EXAMPLE_CHARS:,} characters together: choose fewer")
    return [{"comparison": key, **asdict(found[key].example)} for key in wanted]


def draft_of(alignment: Alignment) -> Judge:
    """Give the version that is tried, which is not stored. Raises BadJudge."""
    return judge_draft(project=alignment.judge.project, name=alignment.judge.name, **_settings(alignment))


def _settings(alignment: Alignment) -> dict[str, Any]:
    judge = alignment.judge
    same = ("kind", "order_policy", "endpoint", "checkpoint", "template", "mode", "is_simulated")
    options = {**judge.options, "examples": alignment.examples, ALIGNED: True}
    return {**{name: getattr(judge, name) for name in same}, "criterion": alignment.criterion, "options": options}


def alignment_figures(alignment: Alignment) -> dict[str, Any]:
    """Compare both versions on the pairs of an alignment, which both were asked about.

    A pair's agreement is that of its verdicts in both orders; a reply that could not be read agrees with nobody, so
    that a version gains nothing by being unreadable.
    """
    truth = {pair["comparison"]: pair["truth"] for pair in alignment.pairs}
    hits: dict[tuple[int, bool], list[bool]] = {}
    said: dict[tuple[int, bool], list[str]] = {}
    unread: Counter[bool] = Counter()
    for key, is_new, state, outcome in alignment.verdicts.values_list("comparison", "is_new", "state", "outcome"):
        hits.setdefault((key, is_new), []).append(state == "ok" and outcome == truth[key])
        said.setdefault((key, is_new), []).append(outcome)
        unread[is_new] += state != "ok"
    prompts = dict(Comparison.objects.filter(pk__in=truth).values_list("id", "prompt__text"))
    shares = {key: sum(many) / len(many) for key, many in hits.items()}
    rows = [
        (prompts[key], shares[key, False], shares[key, True])
        for key in truth
        if (key, False) in shares and (key, True) in shares
    ]
    found = paired_shares(rows, seed=alignment.seed)
    if found is None:
        return {}
    same = Counter(is_new for (_, is_new), both in said.items() if len(both) == 2 and both[0] == both[1] != "")
    two = Counter(is_new for (_, is_new), both in said.items() if len(both) == 2)
    consistency = {is_new: same[is_new] / two[is_new] if two[is_new] else None for is_new in (False, True)}
    return _as_json(found) | {
        "n_unread_before": unread[False],
        "n_unread_after": unread[True],
        "consistency_before": consistency[False],
        "consistency_after": consistency[True],
        "n_changed": sum(before != after for _, before, after in rows),
    }


def _as_json(found: Paired) -> dict[str, Any]:
    told = asdict(found) | {"difference": found.difference}
    for name in ("before_ci95", "after_ci95", "difference_ci95"):
        interval = getattr(found, name)
        told[name] = None if interval is None else [interval.low, interval.high]
    return told


def can_adopt(alignment: Alignment) -> bool:
    """Whether the version that was tried can still become the judge's next one."""
    judge = alignment.judge
    newer = Judge.objects.filter(project=judge.project_id, name=judge.name, version__gt=judge.version)
    return bool(alignment.figures) and judge.retired_at is None and not newer.exists()


def alignment_adopt(*, alignment: Alignment) -> Judge:
    """Make the version that was tried the judge's next version. Raises BadJudge, AlreadyUsed."""
    judge = alignment.judge
    if not alignment.figures:
        raise BadJudge("it has not been tried on all pairs yet")
    with transaction.atomic():
        if not can_adopt(alignment):
            raise AlreadyUsed(f"judge {judge.name!r} is retired, or has a newer version than the one that was tried")
        made = judge_create(project=judge.project, name=judge.name, **_settings(alignment))
        Alignment.objects.filter(pk=alignment.pk).update(made=made)
    return made
