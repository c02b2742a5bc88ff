from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.rankings.views import (
    adjudicate,
    annotate,
    batches,
    budget,
    edit,
    flags,
    gold,
    practice,
    rank,
    review,
    several,
)

app_name = "rankings"
urlpatterns: list[URLPattern | URLResolver] = [
    path("p/<slug:slug>/annotate/", annotate.desk, name="annotate"),
    path("p/<slug:slug>/annotate/next/", annotate.lease, name="annotate-next"),
    path("p/<slug:slug>/annotate/vote/", annotate.vote, name="annotate-vote"),
    path("p/<slug:slug>/annotate/rank/", rank.rank, name="annotate-rank"),
    path("p/<slug:slug>/annotate/undo/", annotate.undo, name="annotate-undo"),
    path("p/<slug:slug>/annotate/flag/", flags.raise_flag, name="annotate-flag"),
    path("p/<slug:slug>/annotate/practice/", practice.practice, name="practice"),
    path("p/<slug:slug>/annotate/history/", annotate.history, name="annotate-history"),
    path("p/<slug:slug>/annotate/<int:comparison_id>/", annotate.item, name="annotate-item"),
    path("p/<slug:slug>/review/", review.queue, name="review"),
    path("p/<slug:slug>/review/split/", adjudicate.queue, name="split"),
    path("p/<slug:slug>/review/split/undo/", adjudicate.undo, name="split-undo"),
    path("p/<slug:slug>/review/split/<int:comparison_id>/", adjudicate.decide, name="split-decide"),
    path("p/<slug:slug>/review/flags/", flags.flags, name="flags"),
    path("p/<slug:slug>/review/flags/<int:pk>/resolve/", flags.resolve, name="flag-resolve"),
    path("p/<slug:slug>/review/gold/", gold.gold, name="gold"),
    path("p/<slug:slug>/review/gold/<int:comparison_id>/", gold.mark, name="gold-mark"),
    path("p/<slug:slug>/review/budget/", budget.budget, name="budget"),
    path("p/<slug:slug>/review/budget/pause/", budget.pause, name="budget-pause"),
    path("p/<slug:slug>/review/practice/", practice.practices, name="practices"),
    path("p/<slug:slug>/review/practice/decide/", practice.decide, name="practice-decide"),
    path("p/<slug:slug>/review/batches/", batches.batches, name="batches"),
    path("p/<slug:slug>/review/batches/<int:pk>/close/", batches.close, name="batch-close"),
    path("p/<slug:slug>/review/several/", several.several, name="review-several"),
    path("p/<slug:slug>/review/undo/", review.undo, name="review-undo"),
    path("p/<slug:slug>/review/<int:comparison_id>/", review.item, name="review-item"),
    path("p/<slug:slug>/review/<int:comparison_id>/decide/", review.decide, name="review-decide"),
    path("p/<slug:slug>/review/<int:comparison_id>/withdraw/", review.withdraw, name="review-withdraw"),
    path("p/<slug:slug>/comparisons/<int:comparison_id>/edit/<slug:side>/", edit.edit, name="edit"),
    path("p/<slug:slug>/comparisons/<int:comparison_id>/", review.comparison, name="comparison"),
]
