from __future__ import annotations

from django.apps import AppConfig


class RemovalConfig(AppConfig):
    name = "apps.removal"
    label = "removal"

    def ready(self) -> None:
        from apps.jobs.ticks import TICKS
        from apps.removal.accounts import accounts_go_on
        from apps.removal.leftovers import caches_clear_start
        from apps.removal.retention import retention_start
        from apps.removal.services import removals_settle

        TICKS.register(retention_start)
        TICKS.register(removals_settle)
        TICKS.register(accounts_go_on)
        TICKS.register(caches_clear_start)
