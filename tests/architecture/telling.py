"""Which routes tell what somebody said of comparisons: a verdict, score, vote, override, frozen label, the gold."""

from __future__ import annotations

from typing import Literal

# "one": of single comparisons; whoever is answered can't vote blind on them any more (apps/samples/exposure.py).
# "many": figures over many comparisons, which end nothing. All others tell nothing of the kind: their answer is the
# same whatever was said, which test_blindness.py checks for every role.
LABELS: dict[str, Literal["one", "many"]] = {
    "p/<slug:slug>/review/": "one",
    "p/<slug:slug>/review/<int:comparison_id>/": "one",
    "p/<slug:slug>/review/several/": "one",
    "p/<slug:slug>/review/gold/": "one",
    "api/v1/projects/<slug:slug>/gold/": "one",
    "p/<slug:slug>/review/split/": "one",
    "api/v1/projects/<slug:slug>/adjudications/": "one",
    "api/v1/projects/<slug:slug>/comparisons/<int:comparison_id>/history/": "one",
    "p/<slug:slug>/review/<int:comparison_id>/decide/": "one",
    "api/v1/projects/<slug:slug>/comparisons/<int:comparison_id>/decision/": "one",
    "p/<slug:slug>/review/<int:comparison_id>/withdraw/": "one",
    "p/<slug:slug>/comparisons/<int:comparison_id>/": "one",
    "p/<slug:slug>/comparisons/<int:pk>/used/": "one",
    "p/<slug:slug>/prompts/<int:pk>/": "one",
    "p/<slug:slug>/samples/": "one",
    "p/<slug:slug>/judges/<int:pk>/": "one",
    "p/<slug:slug>/judges/<int:pk>/align/": "one",
    "p/<slug:slug>/judges/alignments/<int:pk>/": "one",
    "api/v1/projects/<slug:slug>/judges/<int:pk>/corrections/": "one",
    "p/<slug:slug>/judges/trials/<int:pk>/": "one",
    "api/v1/projects/<slug:slug>/judges/trials/<int:pk>/": "one",
    "p/<slug:slug>/policies/<int:pk>/labels/": "one",
    "p/<slug:slug>/policies/<int:pk>/best-of-n/": "one",
    "p/<slug:slug>/loops/<int:pk>/": "one",
    "p/<slug:slug>/snapshots/<int:pk>/": "one",
    "p/<slug:slug>/data/": "one",
    "p/<slug:slug>/data/export/": "one",
    "api/v1/projects/<slug:slug>/exports/<slug:shape>/": "one",
    "p/<slug:slug>/reports/agreement/": "one",
    "p/<slug:slug>/reports/agreement.html": "one",
    "p/<slug:slug>/reports/agreement/slices/": "many",
    "p/<slug:slug>/reports/agreement.json": "many",
    "p/<slug:slug>/reports/agreement.csv": "many",
    "p/<slug:slug>/reports/people/": "many",
    "p/<slug:slug>/reports/reasons/": "many",  # of single votes where a reason is asked for, and recorded then
    "p/<slug:slug>/reports/reasons.json": "many",
    "p/<slug:slug>/reports/reasons.csv": "many",
    "api/v1/projects/<slug:slug>/reports/reasons/": "many",
    "p/<slug:slug>/reports/reward-models/": "many",
    "p/<slug:slug>/reports/reward-models.json": "many",
    "p/<slug:slug>/reports/reward-models.csv": "many",
    "api/v1/projects/<slug:slug>/reports/reward-models/": "many",
    "p/<slug:slug>/reports/ratings/": "many",  # of single ratings or pairs where they are asked for, and recorded then
    "p/<slug:slug>/reports/ratings.json": "many",
    "p/<slug:slug>/reports/ratings.csv": "many",
    "api/v1/projects/<slug:slug>/reports/ratings/": "many",
    "p/<slug:slug>/reports/people/exclude/": "many",
    "api/v1/projects/<slug:slug>/reports/people/": "many",
    "p/<slug:slug>/reports/leaderboard/": "many",
    "p/<slug:slug>/reports/leaderboard.csv": "many",
    "p/<slug:slug>/reports/leaderboard.html": "many",
    "p/<slug:slug>/reports/leaderboard.json": "many",
    "api/v1/projects/<slug:slug>/reports/agreement/": "many",
    "api/v1/projects/<slug:slug>/reports/leaderboard/": "many",
    "p/<slug:slug>/judges/": "many",
    "p/<slug:slug>/": "many",
    "p/<slug:slug>/overview/judge/": "many",
}
