from __future__ import annotations

from django.apps import AppConfig


class EventsConfig(AppConfig):
    name = "apps.events"
    label = "events"

    def ready(self) -> None:
        from apps.core.audit_chain import entries_seal
        from apps.core.shell import register_count
        from apps.events.notifications import n_unread
        from apps.events.services import turn
        from apps.events.telling import job_ended
        from apps.jobs.services.holding import JOB_FAILED
        from apps.jobs.ticks import TICKS

        register_count("notifications", lambda user, _project: n_unread(user))
        TICKS.register(turn)
        TICKS.register(entries_seal)
        JOB_FAILED.register(job_ended)
