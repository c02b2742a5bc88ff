from __future__ import annotations

from django.apps import AppConfig


class PoliciesConfig(AppConfig):
    name = "apps.policies"
    label = "policies"

    def ready(self) -> None:
        from django.db.models import Sum

        from apps.policies.models import Checkpoint
        from apps.policies.uploads import bytes_arriving
        from apps.quotas.counting import Files, Rows, counted

        counted("disk", Rows(Checkpoint.objects.all, Sum("n_bytes"), "created_by"))
        counted("models", Files(bytes_arriving))
