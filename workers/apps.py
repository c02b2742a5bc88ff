from __future__ import annotations

import os

from django.apps import AppConfig

from prefloop.child_env import OFFLINE, OPERATOR_OFFLINE


class WorkersConfig(AppConfig):
    name = "workers"

    def ready(self) -> None:
        """Switch every hub off, in workers and in commands, before anything imports what would ask one."""
        os.environ.setdefault(OPERATOR_OFFLINE, os.environ.get("HF_HUB_OFFLINE", "0"))
        os.environ.update(OFFLINE)
