from __future__ import annotations

from django.apps import AppConfig


class ExchangeConfig(AppConfig):
    name = "apps.exchange"
    label = "exchange"

    def ready(self) -> None:
        from django.db.models import Sum

        from apps.exchange.uploads import waiting_files
        from apps.quotas.counting import Rows, counted

        counted("uploads", Rows(waiting_files, Sum("n_bytes"), "created_by"))
