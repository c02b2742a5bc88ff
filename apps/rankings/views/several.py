"""Agreeing with many of a judge's labels at once: each is shown, and one undo takes them back."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from apps.labels.selectors import judge_labels
from apps.rankings import access, selectors, services
from apps.samples.exposure import labels_shown
from apps.samples.models import Comparison
from prefloop.types import PrefloopError

SHOWN = 50


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def several(request: HttpRequest, slug: str) -> HttpResponse:
    """Show the labels that need a review least; POST agrees with those that are ticked."""
    project = access.project_for_review(request.user, slug)
    user = access.person(request.user)
    judge = selectors.review_judge(project, request.POST.get("judge") or request.GET.get("judge", ""))
    if request.method == "POST":
        if judge is None:
            raise Http404("no such judge")
        ids = [int(key) for key in request.POST.getlist("id") if key.isascii() and key.isdigit()]
        try:
            n = services.agree_many(project=project, judge=judge, comparison_ids=ids, user=user, now=timezone.now())
        except PrefloopError as error:
            messages.error(request, _(str(error)))
        else:
            said = ngettext("You agreed with %d label.", "You agreed with %d labels.", n) % n
            messages.success(request, said) if n else messages.info(request, _("Nothing was ticked."))
        return redirect(request.get_full_path())
    rows = []
    n_more = 0
    if judge is not None:
        people = access.may_see_people(user, project)
        sure = selectors.least_doubted(judge, viewer=user, with_people=people, limit=SHOWN)
        labels = judge_labels(comparison_ids=[key for key, _worth in sure], judge=judge)
        texts = Comparison.objects.filter(pk__in=labels).select_related("prompt", "first", "second")
        pairs = texts.defer("first__token_ids", "second__token_ids").in_bulk()
        rows = [(pairs[key], worth, labels[key]) for key, worth in sure]
        n_more = selectors.n_to_review(project, judge=judge) - len(rows)
    labels_shown(request, [pair.pk for pair, *_label in rows])
    context = {"project": project, "active": "review", "judge": judge, "rows": rows, "n_more": n_more}
    return render(request, "rankings/several.html", context)
