from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from apps.jobs.models import QUEUES


class Command(BaseCommand):
    help = "Serve one queue: gpu (one job at a time, may import torch) or cpu (two)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--queue", choices=QUEUES, required=True)
        parser.add_argument("--slots", type=int, default=None, help="jobs at a time (default: gpu 1, cpu 2)")

    def handle(self, *args: Any, **options: Any) -> None:
        from workers import worker

        worker.run(queue=options["queue"], slots=options["slots"])
