"""People, and the one-time links by which they come in."""

from __future__ import annotations

from django.contrib.auth.models import AbstractUser
from django.db import models

from apps.core.models import TimeStamped


class User(AbstractUser):
    """A person. The password is unusable until they set one through a login link or an invitation."""

    theme = models.CharField(
        max_length=8, default="auto", choices=[("auto", "auto"), ("light", "light"), ("dark", "dark")]
    )

    def __str__(self) -> str:
        return self.get_full_name() or self.username


class LoginLink(TimeStamped):
    """A link that logs one person in, once. Only its hash is kept."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="login_links")
    token_hash = models.CharField(max_length=64, unique=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"login link for {self.user_id}"
