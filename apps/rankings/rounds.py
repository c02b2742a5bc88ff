"""Which comparisons a loop's round wants reviewed. Loops live above this app, so they say it, and this app asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from apps.projects.models import Project

Source = Callable[[Project, int], Sequence[int] | None]

_sources: list[Source] = []


def register_round_source(source: Source) -> None:
    """Let `source(project, round_id)` name a round's comparisons; None where the project has no such round.

    Register in `AppConfig.ready()`; registering again replaces.
    """
    _sources[:] = [source]


def comparison_ids_of_round(project: Project, round_id: int) -> Sequence[int] | None:
    return _sources[0](project, round_id) if _sources else None
