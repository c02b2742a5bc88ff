from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.jobs.models import QUEUES
from workers.cards import CardsRefused, parse


class Command(BaseCommand):
    help = "Serve one queue: gpu (one job at a time, may import torch) or cpu (two)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--queue", choices=QUEUES, required=True)
        parser.add_argument("--slots", type=int, default=None, help="jobs at a time (default: gpu 1, cpu 2)")

        parser.add_argument("--gpus", help="its cards, 0,1; default, for gpu: CUDA_VISIBLE_DEVICES, else all")

    def handle(self, *args: Any, **options: Any) -> None:
        from workers import worker

        try:
            gpus = None if options["gpus"] is None else parse(options["gpus"])
            worker.run(queue=options["queue"], slots=options["slots"], gpus=gpus)
        except CardsRefused as error:
            raise CommandError(str(error)) from error
