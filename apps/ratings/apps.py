from __future__ import annotations

from typing import Any

from django.apps import AppConfig


class RatingsConfig(AppConfig):
    name = "apps.ratings"
    label = "ratings"

    def ready(self) -> None:
        from django.utils import timezone

        from apps.core.shell import register_count
        from apps.labels.exclusions import RATER_CHANGED
        from apps.projects.services import SEATS_WANTED_CHANGED, TASK_CHANGED
        from apps.rankings.selectors import n_wanting
        from apps.ratings.selectors import n_to_rate
        from apps.ratings.services.seats import (
            answers_made,
            ratings_excluded,
            rules_changed,
            task_changed,
        )
        from apps.samples.services import ANSWERS_MADE

        def annotate(user: Any, project: Any) -> int:
            """Pairs and answers; it replaces the counter of pairs alone (apps/rankings/apps.py is ready first)."""
            if project is None:
                return 0
            n = n_wanting(project=project, user=user, now=timezone.now())
            return n + n_to_rate(project, user) if project.asks_ratings else n

        # before those of comparisons: a rating, too, locks its prompt before it locks comparisons
        TASK_CHANGED.register(task_changed, first=True)
        SEATS_WANTED_CHANGED.register(rules_changed, first=True)
        RATER_CHANGED.register(ratings_excluded)
        ANSWERS_MADE.register(answers_made)
        register_count("annotate", annotate)
