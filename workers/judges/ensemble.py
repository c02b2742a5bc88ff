"""Ensembles: each member is asked, then the combined label is stored."""

from __future__ import annotations

from collections.abc import Sequence

from apps.core.chunks import chunks
from apps.jobs.registry import JobContext
from apps.judging.specs import members_of
from apps.labels.models import Judge, JudgingRun
from apps.labels.selectors import judge_labels
from apps.labels.services import NewVerdict, verdicts_add
from prefloop.judging.ensemble import MemberLabel, together
from prefloop.judging.verdicts import ORDER_CODES, EffectiveLabel
from workers import judges
from workers.judges.stored import Item, unasked


def compare(ctx: JobContext, judge: Judge, run: JudgingRun, items: Sequence[Item]) -> None:
    """Ask the members what they have not said yet, then write down what all of them come to."""
    members, weights = members_of(judge), judge.options.get("weights", {})
    ids = [comparison.pk for comparison, _, _ in items]
    labels = {}
    for member in members:
        judges.compare(ctx, member, run, unasked(member, run, ids))
        labels[member.pk] = judge_labels(comparison_ids=ids, judge=member)
    for part in chunks(items, 256):
        verdicts = [
            NewVerdict(
                comparison.pk,
                ORDER_CODES[order],
                together(
                    judge.options["rule"],
                    [
                        (
                            member.name,
                            MemberLabel(
                                EffectiveLabel(label.state, label.outcome, label.p_first),
                                float(weights.get(str(member.pk), 1.0)),
                            ),
                        )
                        for member in members
                        if (label := labels[member.pk].get(comparison.pk)) is not None
                    ],
                ),
                sample,
            )
            for comparison, order, sample in part
        ]
        with ctx.fenced():
            verdicts_add(judge=judge, run=run, verdicts=verdicts)
