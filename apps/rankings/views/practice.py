"""Practice: pairs with the right answer afterwards, for people who are not qualified yet; and who passed, for leads."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from apps.projects.selectors import guideline_current
from apps.rankings import access, selectors, services
from apps.rankings.forms import BoundForm
from apps.rankings.views.annotate import shown_choice
from prefloop.types import PrefloopError


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def practice(request: HttpRequest, slug: str) -> HttpResponse:
    """Show the next practice pair, or with `?answered=ID` what was right of that one; POST answers."""
    user = access.person(request.user)
    project = access.project_for_annotate(user, slug)
    if project.practice_bound is None:
        return redirect("rankings:annotate", slug=slug)
    if project.asks_ratings:
        return redirect("ratings:practice", slug=slug)
    here = reverse("rankings:practice", args=[slug])
    if request.method == "POST":
        asked = request.POST.get("comparison", "")
        pk = int(asked) if asked.isascii() and asked.isdigit() else 0
        pair = selectors.practice_pairs(project).filter(pk=pk).first()
        if pair is None:
            raise Http404("no such practice pair")
        try:
            services.practice_answer(comparison=pair, user=user, choice=request.POST.get("choice", ""))
        except PrefloopError as error:
            messages.error(request, _(str(error)))
            return redirect(here)
        return redirect(f"{here}?answered={pair.pk}")
    mine = selectors.practice_of(project, user)
    answer = None
    answered = request.GET.get("answered", "")
    if answered.isascii() and answered.isdigit():
        answer = selectors.practice_answer_of(mine, int(answered))
    comparison = answer.comparison if answer is not None else selectors.practice_next(project, mine)
    context = {"project": project, "active": "annotate", "practice": mine, "answer": answer, "comparison": comparison}
    if comparison is not None:
        order = selectors.practice_order(comparison, user)
        sides = (comparison.first, comparison.second)
        context["left"], context["right"] = sides if order == "01" else sides[::-1]
        context["turns"] = selectors.conversation(comparison)
        if answer is not None:
            context["said"], context["right_answer"] = (
                shown_choice(one, order) for one in (answer.choice, answer.gold)
            )
            context["note"] = comparison.gold_item.note
    context["guideline"] = guideline_current(project)
    return render(request, "rankings/practice.html", context)


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def practices(request: HttpRequest, slug: str) -> HttpResponse:
    """Who passed; POST sets the bound."""
    project = access.project_for_adjudication(request.user, slug)
    form = BoundForm(request.POST or None, initial={"bound": project.practice_bound})
    if request.method == "POST" and form.is_valid():
        bound = form.cleaned_data["bound"]
        services.practice_bound_set(project=project, bound=bound, by=access.person(request.user))
        messages.success(request, _("Saved."))
        return redirect("rankings:practices", slug=slug)
    context = {
        "project": project,
        "active": "review",
        "form": form,
        "practices": selectors.practices_of(project),
        "n_items": selectors.practice_items(project).count(),
    }
    return render(request, "rankings/practices.html", context, status=400 if form.errors else 200)


@login_required
@require_POST
def decide(request: HttpRequest, slug: str) -> HttpResponse:
    """Let a person have real pairs, or practise again."""
    project = access.project_for_adjudication(request.user, slug)
    user = access.annotator_of(project, request.POST.get("user", ""))
    do = services.practice_let_in if request.POST.get("act") == "let-in" else services.practice_again
    do(project=project, user=user, by=access.person(request.user))
    messages.success(request, _("Saved."))
    return redirect("rankings:practices", slug=slug)
