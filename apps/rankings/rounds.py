"""Hooks for loops, which are in an app above: they name the comparisons that a round wants reviewed, and are told of
decisions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from apps.projects.models import Project

Source = Callable[[Project, int], Sequence[int] | None]
Listener = Callable[[int], None]  # the comparison that somebody decided on, or took a decision back from

_sources: list[Source] = []
_listeners: list[Listener] = []


def register_round_source(source: Source) -> None:
    """Let `source(project, round_id)` name a round's comparisons; None if the project has no such round.

    Register in `AppConfig.ready()`; registering again replaces.
    """
    _sources[:] = [source]


def comparison_ids_of_round(project: Project, round_id: int) -> Sequence[int] | None:
    return _sources[0](project, round_id) if _sources else None


def register_decision_listener(listener: Listener) -> None:
    """Let `listener(comparison_id)` be called after the commit of every decision. Registering again replaces."""
    _listeners[:] = [listener]


def decision_made(comparison_id: int) -> None:
    """Call the listener after a decision on this comparison has been committed."""
    for listener in _listeners:
        listener(comparison_id)
