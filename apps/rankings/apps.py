from __future__ import annotations

from typing import Any

from django.apps import AppConfig


class RankingsConfig(AppConfig):
    name = "apps.rankings"
    label = "rankings"

    def ready(self) -> None:
        from django.utils import timezone

        from apps.core.shell import register_count
        from apps.labels.exclusions import EXCLUSION_CHANGED
        from apps.labels.review_items import WORTH_CHANGED
        from apps.projects.groups import GROUPS_CHANGED
        from apps.projects.services import MEMBERS_CHANGED, SEATS_WANTED_CHANGED, TASK_CHANGED
        from apps.rankings import selectors
        from apps.rankings.services.batches import groups_changed
        from apps.rankings.services.seats import (
            comparisons_made,
            labels_seen,
            members_changed,
            seats_wanted_changed,
            seats_weigh,
            votes_excluded,
        )
        from apps.rankings.services.sets import sets_follow, task_changed
        from apps.samples.exposure import register_recorder
        from apps.samples.pairs import ANSWERS_PAIRED
        from apps.samples.services import COMPARISONS_MADE

        def annotate(user: Any, project: Any) -> int:
            return selectors.n_wanting(project=project, user=user, now=timezone.now()) if project is not None else 0

        def review(_user: Any, project: Any) -> int:
            return selectors.n_to_review(project) if project is not None else 0

        COMPARISONS_MADE.register(comparisons_made)
        ANSWERS_PAIRED.register(sets_follow)
        SEATS_WANTED_CHANGED.register(seats_wanted_changed)
        TASK_CHANGED.register(task_changed)
        MEMBERS_CHANGED.register(members_changed)
        GROUPS_CHANGED.register(groups_changed)
        WORTH_CHANGED.register(seats_weigh)
        EXCLUSION_CHANGED.register(votes_excluded)
        register_recorder(labels_seen)
        register_count("annotate", annotate)
        register_count("review", review)
