"""Which pairs an aligned judge is measured on: none of a prompt that it, or an earlier version, may have been shown."""

from __future__ import annotations

from apps.labels.models import Judge
from apps.projects.models import Project
from apps.samples.models import Comparison
from prefloop.judging.examples import may_align

ALIGNED = "aligned"  # an option of every version that was made by aligning, and of those made from one


def is_measured(judge: str, prompt: str, split: str) -> bool:
    """Whether a judge of this name is measured on pairs of a prompt, and is never shown one."""
    return split == "eval" or not may_align(judge, prompt)


def unmeasured(project: Project) -> dict[int, set[int]]:
    """Return for each aligned judge the comparisons that say nothing of how good it is."""
    judges = [judge for judge in Judge.objects.filter(project=project) if judge.options.get(ALIGNED)]
    if not judges:
        return {}
    by_name: dict[str, set[int]] = {judge.name: set() for judge in judges}
    rows = Comparison.objects.filter(project=project).values_list("id", "prompt__text", "prompt__split")
    for key, text, split in rows.iterator(chunk_size=5000):
        for name, found in by_name.items():
            if not is_measured(name, text, split):
                found.add(key)
    return {judge.pk: by_name[judge.name] for judge in judges}
