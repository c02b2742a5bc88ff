from __future__ import annotations

from typing import Any

from django.apps import AppConfig


class RankingsConfig(AppConfig):
    name = "apps.rankings"
    label = "rankings"

    def ready(self) -> None:
        from django.utils import timezone

        from apps.core.shell import register_count
        from apps.rankings import selectors

        def annotate(user: Any, project: Any) -> int:
            return selectors.n_wanting(project=project, user=user, now=timezone.now()) if project is not None else 0

        def review(_user: Any, project: Any) -> int:
            return selectors.n_to_review(project) if project is not None else 0

        register_count("annotate", annotate)
        register_count("review", review)
