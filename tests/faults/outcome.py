"""What a loop made, to be held against another run of the same loop in another database."""

from __future__ import annotations

from apps.labels.models import Score, Verdict
from apps.policies.models import Checkpoint
from apps.samples.models import Completion
from apps.training.lineage.selectors import loop_rows
from apps.training.models import Metric, Snapshot


def outcome(loop):
    """Everything that the loop made, in the terms of its prompts: the same in any database."""

    def name(completion):
        return (completion.prompt.external_id, completion.index)

    completions = Completion.objects.exclude(run=None).select_related("prompt", "run__checkpoint")
    scores = Score.objects.select_related("judge", "completion__prompt")
    verdicts = Verdict.objects.select_related("judge", "comparison__first__prompt", "comparison__second__prompt")
    metrics = Metric.objects.order_by("run_id", "step").values_list("run__kind", "step", "values")
    return {
        "answers": sorted(
            (row.run.purpose, row.run.checkpoint.recipe, *name(row), row.text, tuple(row.token_ids), row.logp_sum)
            for row in completions
        ),
        "scores": sorted(
            (row.judge.name, row.judge.version, *name(row.completion), row.sample, row.raw, row.value) for row in scores
        ),
        "verdicts": sorted(
            (
                row.judge.name,
                name(row.comparison.first),
                name(row.comparison.second),
                row.order,
                row.sample,
                row.p_first or 0,
                row.outcome,
            )
            for row in verdicts
        ),
        "metrics": list(metrics),
        "weights": list(Checkpoint.objects.order_by("id").values_list("role", "fingerprint")),
        "snapshots": list(Snapshot.objects.order_by("id").values_list("n_pairs", "n_overrides", "sources")),
        "rounds": [
            {key: value for key, value in row.items() if key not in ("seconds", "checkpoint")}
            for row in loop_rows(loop)
        ],
    }
