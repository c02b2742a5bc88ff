"""The verified addresses by which people are known to the identity provider.

They are set by whoever runs the installation, or by the provider itself. What people write on their profile is where
mails go, and never lets anybody in: everybody could write the address of somebody else.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import count
from typing import Any

from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from knox.models import AuthToken

from apps.accounts.models import User
from apps.accounts.services import AccountRefused, user_create
from apps.accounts.sessions import sessions_end
from apps.core.services import audit


def account_of_address(email: str) -> User | None:
    """Find whose verified address this is."""
    row = EmailAddress.objects.filter(email=email.lower(), verified=True).select_related("user").first()
    return row.user if row is not None else None


def address_set(*, user: User, email: str, actor: User | None = None) -> None:
    """Let whoever the provider knows by this address sign in as this person; "" lets nobody.

    Whom an earlier address let in is no longer known: their sessions and API tokens end. Raises AccountRefused.
    """
    email = email.strip().lower()
    try:
        if email:
            validate_email(email)
        with transaction.atomic():
            EmailAddress.objects.filter(user=user).delete()
            if SocialAccount.objects.filter(user=user).delete()[0]:
                sessions_end(user=user)
                AuthToken.objects.filter(user=user).delete()
            if email:
                EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
                if not user.email:
                    user.email = email
                    user.save(update_fields=["email"])
            audit(actor=actor, verb="sso.address", target=f"user:{user.pk}")
    except ValidationError:
        raise AccountRefused(f"{email!r} is no e-mail address.") from None
    except IntegrityError:
        raise AccountRefused(f"{email!r} is the address of another account.") from None


def sso_account_create(*, email: str, told: dict[str, Any]) -> User:
    """Make the account of somebody whom the provider knows. It is in no project. Raises AccountRefused."""
    wanted = unicodedata.normalize("NFKC", str(told.get("preferred_username") or email.partition("@")[0]))
    base = re.sub(r"[^A-Za-z0-9_.@+-]", "", wanted)[:140] or "person"
    names = (base if n == 1 else f"{base}-{n}" for n in count(1))
    with transaction.atomic():
        user = user_create(username=next(name for name in names if not User.objects.filter(username__iexact=name)))
        user.first_name, user.last_name = (str(told.get(key, ""))[:150] for key in ("given_name", "family_name"))
        user.save(update_fields=["first_name", "last_name"])
        address_set(user=user, email=email)
    return user
