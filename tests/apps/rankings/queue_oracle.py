"""What the queue should hold, worked out from all the rows themselves."""

from __future__ import annotations

from collections import Counter

from apps.labels.selectors import counting_votes, standing_votes
from apps.projects.models import Project
from apps.rankings.models import Assignment
from apps.samples.models import Comparison, Exposure
from prefloop.types import ANSWERS


def left_for(project, people, now):
    """The comparisons that each of these people may get now, or holds."""
    wanted = Project.objects.get(pk=project.pk).votes_per_comparison
    votes = list(standing_votes().values_list("comparison_id", "user_id", "choice"))
    held = list(Assignment.objects.filter(state="open").values_list("comparison_id", "user_id", "lease_until"))
    seen = set(Exposure.objects.values_list("comparison_id", "user_id"))
    counting = counting_votes().values_list("comparison_id", "choice")
    taken = Counter(comparison for comparison, choice in counting if choice in ANSWERS)
    taken.update(comparison for comparison, _, until in held if until >= now)
    for_people = [
        one.pk
        for one in Comparison.objects.filter(project=project).select_related("batch")
        if not one.same_answers and one.for_people and (one.batch is None or one.batch.ready)
    ]
    found = {}
    for user in people:
        not_hers = {comparison for comparison, voter, _ in votes if voter == user.pk}
        not_hers |= {comparison for comparison, who in seen if who == user.pk}
        hers = {comparison for comparison, holder, _ in held if holder == user.pk}
        found[user] = {key for key in for_people if key not in not_hers and (key in hers or taken[key] < wanted)}
    return found
