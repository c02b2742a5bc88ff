from __future__ import annotations

from django.apps import AppConfig


class QuotasConfig(AppConfig):
    name = "apps.quotas"
    label = "quotas"

    def ready(self) -> None:
        from django.conf import settings
        from django.core.exceptions import ImproperlyConfigured

        from apps.quotas.kinds import NoSuchQuota, check_names

        for variable, limits, of_people in (
            ("PREFLOOP_PROJECT_QUOTAS", settings.PROJECT_QUOTAS, False),
            ("PREFLOOP_PERSON_QUOTAS", settings.PERSON_QUOTAS, True),
        ):
            try:
                check_names(limits, of_people=of_people)
            except NoSuchQuota as error:
                raise ImproperlyConfigured(f"{variable}: {error}") from error
