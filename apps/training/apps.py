from __future__ import annotations

from django.apps import AppConfig


class TrainingConfig(AppConfig):
    name = "apps.training"
    label = "training"

    def ready(self) -> None:
        from apps.rankings.rounds import register_decision_listener, register_round_source
        from apps.training.rounds.gate import comparison_ids_of_round, decision_heard

        register_round_source(comparison_ids_of_round)
        register_decision_listener(decision_heard)
