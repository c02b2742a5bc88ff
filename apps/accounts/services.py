"""Writes about people: new accounts, one-time links, passwords, tokens, theme."""

from __future__ import annotations

import hashlib
import re
import secrets
import unicodedata
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.urls import reverse
from django.utils.translation import gettext as _
from knox.models import AuthToken

from apps.accounts.models import LoginLink, Scope, TokenScope, User
from apps.accounts.sessions import sessions_end
from apps.core.services import audit
from prefloop.types import PrefloopError

LINK_LIFETIME = timedelta(hours=1)
MOST_TOKEN_DAYS = 365
# ASCII alone: a Cyrillic а looks like a Latin one, and no list of look-alikes is ever whole
_USERNAME = re.compile(r"[A-Za-z0-9_.@+-]{1,150}")


class AccountRefused(PrefloopError):
    """The account cannot be made or changed as asked."""


class LinkInvalid(PrefloopError):
    """The link was used, has expired, or never existed; the message is the same in all three cases."""

    def __init__(self) -> None:
        super().__init__("This link is invalid or has expired. Ask for a new one.")


def token_hash(token: str) -> str:
    """Hash a random token for storage. Plain SHA-256 suffices: the token has 256 random bits."""
    return hashlib.sha256(token.encode()).hexdigest()


def user_create(*, username: str, password: str | None = None, actor: User | None = None, email: str = "") -> User:
    """Make a person. Without a password the account waits for a login link. Raises AccountRefused."""
    username = unicodedata.normalize("NFKC", username).strip()
    if not _USERNAME.fullmatch(username):
        raise AccountRefused("A username has 1 to 150 characters: letters a to z, digits and @ . + - _.")
    user = User(username=username, email=email)
    if password is None:
        user.set_unusable_password()
    else:
        _check_password(password, user)
        user.set_password(password)
    try:
        with transaction.atomic():
            if User.objects.filter(username__iexact=username).exists():
                raise AccountRefused(f"The username {username!r} is taken.")
            user.save()
            audit(actor=actor, verb="user.create", target=f"user:{user.pk}")
    except IntegrityError:
        raise AccountRefused(f"The username {username!r} is taken.") from None
    return user


def admin_grant(*, user: User, actor: User | None = None) -> None:
    """Make a user an admin, who runs the installation and may make projects. Repeating it changes nothing."""
    if user.is_superuser:
        return
    with transaction.atomic():
        user.is_superuser = user.is_staff = True
        user.save(update_fields=["is_superuser", "is_staff"])
        audit(actor=actor, verb="user.admin", target=f"user:{user.pk}")


def _check_password(password: str, user: User) -> None:
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise AccountRefused(" ".join(error.messages)) from error


def login_link_create(*, user: User, now: datetime, actor: User | None = None, base_url: str = "") -> str:
    """Make a link that signs `user` in once, within an hour, and end earlier links; return its full address.

    It begins with `base_url` if given, else with the address of this instance.
    """
    token = secrets.token_urlsafe(32)
    with transaction.atomic():
        LoginLink.objects.filter(user=user, used_at__isnull=True).update(used_at=now)
        LoginLink.objects.create(user=user, token_hash=token_hash(token), expires_at=now + LINK_LIFETIME)
        audit(actor=actor, verb="login_link.create", target=f"user:{user.pk}")
    return f"{(base_url or settings.BASE_URL).rstrip('/')}{reverse('accounts:login-link', args=[token])}"


def login_link_find(*, token: str, now: datetime) -> LoginLink:
    """Find the open link of a token without using it up. Raises LinkInvalid."""
    link = (
        LoginLink.objects.select_related("user")
        .filter(token_hash=token_hash(token), used_at__isnull=True, expires_at__gt=now, user__is_active=True)
        .first()
    )
    if link is None:
        raise LinkInvalid
    return link


def login_link_use(*, token: str, now: datetime) -> User:
    """Use up a link, once: of two attempts at the same moment one succeeds. Raises LinkInvalid."""
    with transaction.atomic():
        link = login_link_find(token=token, now=now)
        if LoginLink.objects.filter(pk=link.pk, used_at__isnull=True).update(used_at=now) != 1:
            raise LinkInvalid
        audit(actor=link.user, verb="login_link.use", target=f"user:{link.user_id}")
    return link.user


def password_set(*, user: User, password: str, now: datetime) -> None:
    """Set a password; open login links, other sessions and all API tokens of the person end. Raises AccountRefused."""
    _check_password(password, user)
    with transaction.atomic():
        user.set_password(password)
        user.save(update_fields=["password"])
        LoginLink.objects.filter(user=user, used_at__isnull=True).update(used_at=now)
        sessions_end(user=user)
        # whoever knew the old password may have made a token
        _, n_deleted = AuthToken.objects.filter(user=user).delete()
        data = {"n_tokens_revoked": n_deleted.get(AuthToken._meta.label, 0)}
        audit(actor=user, verb="password.set", target=f"user:{user.pk}", data=data)


def sign_in_refused(*, username: str) -> None:
    """Note in the audit log that an account failed so often that it has to wait; not what was typed as its name."""
    known = User.objects.filter(username=username).first()
    audit(actor=None, verb="sign_in.refused", target=f"user:{known.pk}" if known is not None else "")


def theme_set(*, user: User, theme: str) -> None:
    """Store a user's theme. Raises AccountRefused."""
    if theme not in {"auto", "light", "dark"}:
        raise AccountRefused("A theme is auto, light or dark.")
    user.theme = theme
    user.save(update_fields=["theme"])


def language_set(*, user: User, language: str) -> None:
    """Store the language of a person's pages and mails; "" is the browser's. Raises AccountRefused."""
    if language and language not in dict(settings.LANGUAGES):
        raise AccountRefused(_("There is no such language here."))
    user.language = language
    user.save(update_fields=["language"])


def profile_update(*, user: User, first_name: str, last_name: str, email: str, wants_mail: bool | None = None) -> None:
    """Change a person's name, address, and whether they want mails (None: as it is)."""
    user.first_name, user.last_name, user.email = first_name.strip(), last_name.strip(), email.strip()
    user.wants_mail = user.wants_mail if wants_mail is None else wants_mail
    user.save(update_fields=["first_name", "last_name", "email", "wants_mail"])


def token_create(
    *, user: User, scope: Scope = Scope.MANAGE, lifetime: timedelta | None = None, actor: User | None = None
) -> tuple[AuthToken, str]:
    """Make an API token; return its row and its text, which is stored nowhere and never shown again.

    Without a `lifetime` it lasts as long as settings.TOKEN_LIFETIME says. Raises AccountRefused for one over a year.
    """
    lifetime = settings.TOKEN_LIFETIME if lifetime is None else lifetime
    if not timedelta(0) < lifetime <= timedelta(days=MOST_TOKEN_DAYS):
        raise AccountRefused(f"A token can last 1 to {MOST_TOKEN_DAYS} days.")
    with transaction.atomic():
        row, text = AuthToken.objects.create(user=user, expiry=lifetime)
        TokenScope.objects.create(token=row, scope=scope)
        data = {"prefix": row.token_key, "scope": scope.value}
        audit(actor=actor or user, verb="token.create", target=f"user:{user.pk}", data=data)
    return row, text


def token_revoke(*, user: User, prefix: str) -> None:
    """End one of the user's own tokens. Raises AccountRefused if there is none with that beginning."""
    with transaction.atomic():
        n_deleted, _ = AuthToken.objects.filter(user=user, token_key=prefix).delete()
        if not n_deleted:
            raise AccountRefused("You have no such token.")
        audit(actor=user, verb="token.revoke", target=f"user:{user.pk}", data={"prefix": prefix})
