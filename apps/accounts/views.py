"""Signing in and out, and a user's own pages."""

from __future__ import annotations

from datetime import timedelta

from allauth.account.internal.flows.login import record_authentication
from allauth.account.internal.flows.reauthentication import raise_if_reauthentication_required
from allauth.account.utils import perform_login
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import authenticate, logout, update_session_auth_hash
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from knox.models import AuthToken

from apps.accounts import services, sessions, throttle
from apps.accounts.adapters import FIRST_STEP, passkeys_work
from apps.accounts.factors import has_factor
from apps.accounts.forms import ChangePasswordForm, LoginForm, NewPasswordForm, ProfileForm, TokenForm
from apps.accounts.models import OpenSession, User
from apps.core.services import audit

NEEDS_PASSWORD = "needs_password"  # noqa: S105 (a session key's name, not a password)


def person(request: HttpRequest) -> User:
    """The signed-in person, for views behind login_required."""
    assert isinstance(request.user, User)  # noqa: S101 (login_required has run)
    return request.user


def posted(request: HttpRequest) -> QueryDict | None:
    """The submitted fields, even if there are none; None if the page is only read."""
    return request.POST if request.method == "POST" else None


def safe_next(request: HttpRequest) -> str:
    """Where to go afterwards: only a path of this site, else the start page."""
    target = request.POST.get("next") or request.GET.get("next") or ""
    return target if sessions.is_own_path(request, target) else "/"


def sign_in(request: HttpRequest, user: User, *, by: str, then: str) -> HttpResponse:
    """Begin a session of this person, or ask for their second factor first; then they are sent to `then`.

    `by` says how they were known, for the audit log.
    """
    record_authentication(request, user, by)
    request.session[FIRST_STEP] = user.get_session_auth_hash()
    response: HttpResponse = perform_login(request, user, redirect_url=then)
    return response


@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "POST"])
def login_view(request: HttpRequest) -> HttpResponse:
    """Sign in with a password. Every refusal is the same, and an unknown name takes as long as a wrong password."""
    if request.user.is_authenticated:
        return redirect(safe_next(request))
    form = LoginForm(posted(request))
    status = 200
    if request.method == "POST" and form.is_valid():
        name, address = form.cleaned_data["username"], throttle.address_of(request)
        if throttle.is_blocked(account=name, address=address):
            form.add_error(None, _("Too many attempts. Wait a quarter of an hour, then try again."))
            status = 429
        else:
            # ModelBackend hashes the password for unknown names too, so that time tells nothing
            user = authenticate(request, username=name, password=form.cleaned_data["password"])
            if isinstance(user, User):
                throttle.note_success(account=name)
                return sign_in(request, user, by="password", then=safe_next(request))
            throttle.note_failure(account=name, address=address)
            if throttle.is_blocked(account=name, address=address):
                services.sign_in_refused(username=name)
            form.add_error(None, _("Wrong username or password."))
            status = 400
    elif request.method == "POST":
        status = 400
    context = {
        "form": form,
        "next": safe_next(request),
        "passkeys_work": passkeys_work(request),
        "sso": settings.OIDC.get("name"),
    }
    return render(request, "accounts/login.html", context, status=status)


@require_POST
def logout_view(request: HttpRequest) -> HttpResponse:
    if isinstance(request.user, User):
        OpenSession.objects.filter(session_key=request.session.session_key).delete()
        audit(actor=request.user, verb="sign_out", target=f"user:{request.user.pk}")
    logout(request)
    return redirect("accounts:login")


@never_cache
@require_http_methods(["GET", "POST"])
def login_link(request: HttpRequest, token: str) -> HttpResponse:
    """Show a button; only pressing it uses the link up, so that a preview of the link in a chat does not."""
    now = timezone.now()
    try:
        if request.method == "GET":
            link = services.login_link_find(token=token, now=now)
            return render(request, "accounts/login_link.html", {"name": link.user.username})
        user = services.login_link_use(token=token, now=now)
    except services.LinkInvalid:
        return render(request, "accounts/link_invalid.html", status=404)
    logout(request)
    request.session[NEEDS_PASSWORD] = user.pk
    return sign_in(request, user, by="link", then=reverse("accounts:password-set"))


@never_cache
@sensitive_post_parameters("password")
@login_required
@require_http_methods(["GET", "POST"])
def password_set(request: HttpRequest) -> HttpResponse:
    """Choose a password after a login link; the current one is not asked for this time."""
    user = person(request)
    if request.session.get(NEEDS_PASSWORD) != user.pk:
        return redirect("accounts:password-change")
    form = NewPasswordForm(posted(request), user=user)
    if request.method == "POST" and form.is_valid():
        services.password_set(user=user, password=form.cleaned_data["password"], now=timezone.now())
        request.session.pop(NEEDS_PASSWORD, None)
        update_session_auth_hash(request, user)
        sessions.session_note(request=request, user=user)
        messages.success(request, _("Your password has been set."))
        return redirect("/")
    context = {
        "form": form,
        "is_first": not user.has_usable_password(),
        "n_tokens": AuthToken.objects.filter(user=user).count(),
    }
    return render(request, "accounts/password_set.html", context, status=400 if form.errors else 200)


@never_cache
@sensitive_post_parameters("current", "password")
@login_required
@require_http_methods(["GET", "POST"])
def password_change(request: HttpRequest) -> HttpResponse:
    user = person(request)
    form = ChangePasswordForm(posted(request), user=user)
    if request.method == "POST":
        address = throttle.address_of(request)
        account = f"change:{user.username}"
        if throttle.is_blocked(account=account, address=address):
            form.add_error(None, _("Too many attempts. Wait a quarter of an hour, then try again."))
        elif form.is_valid():
            services.password_set(user=user, password=form.cleaned_data["password"], now=timezone.now())
            update_session_auth_hash(request, user)
            sessions.session_note(request=request, user=user)
            messages.success(
                request,
                _("Your password has been changed. Your other sessions are signed out and your API tokens revoked."),
            )
            return redirect("accounts:profile")
        elif "current" in form.errors:
            throttle.note_failure(account=account, address=address)
    return render(
        request, "accounts/password_change.html", {"form": form, "tab": "password"}, status=400 if form.errors else 200
    )


@login_required
@require_http_methods(["GET", "POST"])
def profile(request: HttpRequest) -> HttpResponse:
    user = person(request)
    form = ProfileForm(
        posted(request),
        initial={
            key: getattr(user, key) for key in ("first_name", "last_name", "email", "wants_mail", "language", "theme")
        },
    )
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        services.profile_update(
            user=user,
            first_name=data["first_name"],
            last_name=data["last_name"],
            email=data["email"],
            wants_mail=data["wants_mail"],
        )
        services.language_set(user=user, language=data["language"])
        services.theme_set(user=user, theme=data["theme"])
        messages.success(request, _("Saved."))
        return redirect("accounts:profile")
    memberships = user.memberships.select_related("project").order_by("project__name")
    return render(
        request,
        "accounts/profile.html",
        {"form": form, "memberships": memberships, "tab": "profile"},
        status=400 if form.errors else 200,
    )


@login_required
@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    try:
        services.theme_set(user=person(request), theme=request.POST.get("theme", ""))
    except services.AccountRefused as error:
        return HttpResponseBadRequest(str(error), content_type="text/plain")
    return HttpResponse(status=204)


@require_POST
def language(request: HttpRequest) -> HttpResponse:
    """Change the language: of the person's account where somebody is signed in, and of this browser."""
    chosen = request.POST.get("language", "")
    if chosen not in dict(settings.LANGUAGES):
        return HttpResponseBadRequest(_("There is no such language here."), content_type="text/plain; charset=utf-8")
    if isinstance(request.user, User):
        services.language_set(user=request.user, language=chosen)
    response = redirect(safe_next(request))
    response.set_cookie(
        settings.LANGUAGE_COOKIE_NAME,
        chosen,
        max_age=settings.LANGUAGE_COOKIE_AGE,
        secure=request.is_secure(),
        httponly=settings.LANGUAGE_COOKIE_HTTPONLY,
        samesite="Lax",
    )
    return response


@login_required
@require_http_methods(["GET", "POST"])
def tokens(request: HttpRequest) -> HttpResponse:
    """List the person's API tokens by their first characters; a new one is shown once, in this answer only.

    Whoever has a second factor shows it again for a new one, which needs none for as long as it lasts.
    """
    user = person(request)
    if request.method == "POST" and has_factor(user):
        raise_if_reauthentication_required(request, app="allauth.mfa")
    form = TokenForm(posted(request))
    secret = None
    if request.method == "POST" and form.is_valid():
        lifetime = timedelta(days=form.cleaned_data["days"])
        _row, secret = services.token_create(user=user, scope=form.cleaned_data["scope"], lifetime=lifetime)
        form = TokenForm()
    rows = AuthToken.objects.filter(user=user).select_related("scope_row").order_by("-created")
    context = {"form": form, "secret": secret, "tokens": rows, "now": timezone.now(), "tab": "tokens"}
    return render(request, "accounts/tokens.html", context, status=400 if form.errors else 200)


@login_required
@require_POST
def token_revoke(request: HttpRequest) -> HttpResponse:
    try:
        services.token_revoke(user=person(request), prefix=request.POST.get("prefix", ""))
    except services.AccountRefused as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _("The token has been revoked."))
    return redirect("accounts:tokens")


@login_required
@never_cache
@require_GET
def session_list(request: HttpRequest) -> HttpResponse:
    """Show in which browsers the person is signed in."""
    rows = sessions.sessions_of(person(request), now=timezone.now())
    context = {"sessions": rows, "this": request.session.session_key, "tab": "sessions"}
    return render(request, "accounts/sessions.html", context)


@login_required
@require_POST
def session_end(request: HttpRequest) -> HttpResponse:
    """Sign one browser out, or all but this one."""
    user, pk = person(request), request.POST.get("session", "")
    if pk == "others":
        sessions.sessions_end(user=user, but=request.session.session_key)
        messages.success(request, _("You are signed out everywhere else."))
    elif pk.isascii() and pk.isdigit() and len(pk) < 19:
        try:
            sessions.session_end(user=user, pk=int(pk))
            messages.success(request, _("That browser is signed out."))
        except sessions.NoSession as error:
            messages.error(request, str(error))
    return redirect("accounts:sessions")


@require_GET
def well_known_change_password(request: HttpRequest) -> HttpResponse:
    """Where password managers look for the page that changes a password."""
    return redirect("accounts:password-change")
