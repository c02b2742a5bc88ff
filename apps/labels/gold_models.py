"""What leads say of a gold pair, beside its known answer (`Comparison.gold`)."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from apps.core.models import TimeStamped
from apps.samples.models import Comparison


class GoldItem(TimeStamped):
    """Why a gold pair's answer is the right one, and who said so. A gold pair that was imported without a note has
    none of these.
    """

    comparison = models.OneToOneField(Comparison, on_delete=models.CASCADE, related_name="gold_item")
    note = models.TextField(blank=True)  # shown to people after they have answered it in practice
    # whether people practise on it before they get real pairs; then it is never given among these
    for_practice = models.BooleanField(default=False)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        app_label = "labels"

    def __str__(self) -> str:
        return f"gold of {self.comparison_id}"
