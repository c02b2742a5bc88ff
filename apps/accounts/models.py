"""People, the one-time links by which they sign in, and the scopes of their API tokens."""

from __future__ import annotations

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils.translation import gettext_lazy as _
from knox.models import AuthToken

from apps.core.models import TimeStamped


class User(AbstractUser):
    """A person. The password is unusable until they set one through a login link or an invitation."""

    theme = models.CharField(
        max_length=8, default="auto", choices=[("auto", "auto"), ("light", "light"), ("dark", "dark")]
    )

    # of pages and mails; empty: as the browser asks, and English in mails
    language = models.CharField(max_length=8, blank=True, default="")
    wants_mail = models.BooleanField(default=False)  # of what it is notified of on the page

    # a deleted account is a row that says nothing of the person: the audit log names people by their ids
    deleted_at = models.DateTimeField(null=True, db_index=True)
    # of a deleted one, what is still to be deleted from projects (apps/removal/accounts.py); None: nothing
    leaving = models.JSONField(null=True)

    def __str__(self) -> str:
        return self.get_full_name() or self.username


class LoginLink(TimeStamped):
    """A link that signs one person in, once. Only its hash is kept."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="login_links")
    token_hash = models.CharField(max_length=64, unique=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"login link for {self.user_id}"


class OpenSession(TimeStamped):
    """A browser in which a person is signed in, so that they can see it and end it."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="open_sessions")
    session_key = models.CharField(max_length=40, unique=True)  # of the row that Django keeps
    address = models.CharField(max_length=45, blank=True)
    browser = models.CharField(max_length=200, blank=True)  # what it calls itself

    def __str__(self) -> str:
        return f"session of {self.user_id} since {self.created_at:%Y-%m-%d}"


class Scope(models.TextChoices):
    """What an API token may do, never more than its owner.

    Reading needs READ and writing MANAGE, unless a view declares another as its `scope`.
    """

    READ = "read", _("Read")
    ANNOTATE = "annotate", _("Annotate")
    MANAGE = "manage", _("Manage")

    def allows(self, needed: Scope) -> bool:
        """Say whether a token of this scope may use a route that needs `needed`."""
        return self in {needed, Scope.MANAGE}


class TokenScope(models.Model):
    """The scope of one API token. A token without one may do nothing."""

    token = models.OneToOneField(AuthToken, on_delete=models.CASCADE, primary_key=True, related_name="scope_row")
    scope = models.CharField(max_length=16, choices=Scope.choices)

    def __str__(self) -> str:
        return self.scope
