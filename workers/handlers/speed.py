"""Measuring how fast models of one size are here, before anything has run: forecasts compute with it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.conf import settings

from apps.jobs.registry import JobContext, handler
from apps.policies.models import Checkpoint
from apps.policies.selectors import checkpoint_shape, checkpoint_speeds
from prefloop.engine.speed import as_values, measure
from prefloop.measured import measured_once
from prefloop.speeds import Speeds, measurement_name
from workers import model_cache


@handler("policies.speed", queue="gpu")
def model_speed(ctx: JobContext) -> dict[str, Any]:
    """Measure once for a size of model, a machine and a number of threads: payload {checkpoint}."""
    checkpoint = Checkpoint.objects.get(pk=ctx.payload["checkpoint"])
    shape = checkpoint_shape(checkpoint)
    if shape is None:
        return {}
    found = checkpoint_speeds(checkpoint)
    if found is None:
        policy = model_cache.policy(checkpoint)  # first: it may measure its precision, and one measures at a time
        name = measurement_name(shape, settings.PRECISION)
        values = measured_once(
            settings.VAR_DIR, name, lambda: as_values(measure(policy)), threads=settings.WORKER_THREADS
        )
        found = Speeds(**values)
    ctx.log(
        f"models of {shape.n_parameters:,} parameters: {found.sampled:,.0f} tokens a second sampled, "
        f"{found.read:,.0f} read, {found.trained:,.0f} trained"
    )
    return asdict(found)
