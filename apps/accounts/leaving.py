"""What an account itself holds, removed when the account is deleted: how somebody signs in, and who they are."""

from __future__ import annotations

from datetime import datetime

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from knox.models import AuthToken

from apps.accounts.models import LoginLink, User
from apps.accounts.sessions import sessions_end


def account_empty(*, user: User, now: datetime) -> None:
    """Remove every way to sign in and everything that says who the person is, in the caller's transaction.

    The row stays, since the audit log names people by their ids, under a name that nobody can choose.
    """
    sessions_end(user=user)
    for model in (LoginLink, AuthToken, Authenticator, EmailAddress, SocialAccount):
        model.objects.filter(user=user).delete()
    user.username, user.first_name, user.last_name, user.email = f"deleted account {user.pk}", "", "", ""
    user.is_active = user.is_staff = user.is_superuser = user.wants_mail = False
    user.language, user.theme, user.last_login, user.deleted_at = "", "auto", None, now
    user.set_unusable_password()
    user.save()
