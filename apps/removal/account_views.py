"""Deleting an account: one's own, or anybody's for whoever runs the installation."""

from __future__ import annotations

from allauth.account.internal.flows.reauthentication import raise_if_reauthentication_required
from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from apps.accounts.models import User
from apps.accounts.views import person, posted
from apps.projects.access import is_operator
from apps.removal.accounts import AccountKept, account_delete, traces_of
from apps.removal.forms import AccountForm


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def own(request: HttpRequest) -> HttpResponse:
    """Show a person what goes with their account; POST deletes it."""
    return _page(request, person(request), "removal/own_account.html")


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def anybodys(request: HttpRequest, pk: int) -> HttpResponse:
    found = User.objects.filter(pk=pk, deleted_at=None).first() if is_operator(person(request)) else None
    if found is None:
        raise Http404("no such account")
    return _page(request, found, "removal/account.html")


def _page(request: HttpRequest, account: User, template: str) -> HttpResponse:
    """Whoever deletes an account shows once more who they are, unless they have just signed in."""
    if request.method == "POST":
        raise_if_reauthentication_required(request, app="allauth.mfa")
    form = AccountForm(posted(request), account=account)
    if request.method == "POST" and form.is_valid():
        labels, name = form.cleaned_data["labels"], account.username
        try:
            account_delete(user=account, labels=labels, by=person(request), now=timezone.now())
        except AccountKept as error:
            form.add_error(None, str(error))
        else:
            is_own = account.pk == person(request).pk
            if is_own:
                logout(request)
            messages.success(request, _("The account %(name)s is deleted.") % {"name": name})
            return redirect("accounts:login" if is_own else "quotas:all")
    context = {"form": form, "account": account, "traces": traces_of(account), "tab": "profile"}
    return render(request, template, context, status=400 if form.errors else 200)
