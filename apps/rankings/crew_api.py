"""For leads' programs: the queue of a project. Gold pairs, practice, batches, the budget of labels, pauses."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.core.api import BodySerializer
from apps.core.form_api import body_of, filled, sent
from apps.projects.models import Project
from apps.rankings import access, selectors, services
from apps.rankings.forms import BatchForm, BoundForm, BudgetForm, ShareForm
from apps.samples import exposure
from prefloop.types import OUTCOMES

BAD = OpenApiResponse(description="One line says why nothing changed.")
ShareBody, BoundBody, BatchBody, BudgetBody = (body_of(form) for form in (ShareForm, BoundForm, BatchForm, BudgetForm))
LISTED = 500


class GoldPairSerializer(serializers.Serializer[Any]):
    comparison = serializers.IntegerField(source="comparison.pk")
    outcome = serializers.ChoiceField(source="comparison.gold", choices=OUTCOMES)
    note = serializers.CharField(source="item.note", default="", allow_blank=True)
    for_practice = serializers.BooleanField(source="item.for_practice", default=False)
    n_votes = serializers.IntegerField()
    n_right = serializers.IntegerField()
    n_verdicts = serializers.IntegerField()
    n_verdicts_right = serializers.IntegerField()


class GoldAnswerSerializer(serializers.Serializer[Any]):
    answer = serializers.IntegerField(source="answer.pk")
    values = serializers.DictField(source="item.values", child=serializers.IntegerField())
    note = serializers.CharField(source="item.note", allow_blank=True)
    for_practice = serializers.BooleanField(source="item.for_practice")
    n_ratings = serializers.IntegerField()
    n_right = serializers.IntegerField(help_text="Each yes or no as it is known, each number at most one away.")


class Gold(APIView):
    """The latest 500 gold pairs and gold answers, with how people and judges answered them. PATCH sets their share
    in %.
    """

    class OutputSerializer(serializers.Serializer[Any]):
        share = serializers.IntegerField()
        pairs = GoldPairSerializer(many=True)
        answers = GoldAnswerSerializer(many=True)

    @extend_schema(responses={200: OutputSerializer})
    def get(self, request: Request, slug: str) -> Response:
        project = access.project_for_adjudication(request.user, slug)
        items = selectors.gold_answers(list(selectors.gold_of(project)[:LISTED]))
        shown = [item.comparison.pk for item in items]
        exposure.shown(user_id=request.user.pk, comparison_ids=shown, where="api-gold")
        rated = selectors.gold_rated_answers(selectors.gold_rated(project)[:LISTED])
        told = [one.answer.pk for one in rated]
        exposure.answers_shown(user_id=request.user.pk, answer_ids=told, where="api-gold")
        return Response(self.OutputSerializer({"share": project.gold_share, "pairs": items, "answers": rated}).data)

    @extend_schema(request=ShareBody, responses={200: ShareBody, 400: BAD})
    def patch(self, request: Request, slug: str) -> Response:
        project = access.project_for_adjudication(request.user, slug)
        form = filled(ShareForm(initial={"share": project.gold_share}), sent(ShareBody(data=request.data)))
        share = form.cleaned_data["share"]
        services.gold_share_set(project=project, share=share, by=access.person(request.user))
        return Response({"share": project.gold_share})


class GoldMark(APIView):
    """Say which answer of a pair is right, so that it measures people and judges; DELETE: it is not known."""

    class InputSerializer(BodySerializer):
        outcome = serializers.ChoiceField(choices=OUTCOMES)
        note = serializers.CharField(
            required=False, allow_blank=True, default="", help_text="Why; shown to whoever practises on it."
        )
        for_practice = serializers.BooleanField(required=False, default=False)

    @extend_schema(request=InputSerializer, responses={200: InputSerializer, 400: BAD})
    def put(self, request: Request, slug: str, comparison_id: int) -> Response:
        comparison = access.comparison_for_adjudication(request.user, slug, comparison_id)
        given = self.InputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        services.gold_mark(comparison=comparison, by=access.person(request.user), **given.validated_data)
        return Response(given.data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, slug: str, comparison_id: int) -> Response:
        comparison = access.comparison_for_adjudication(request.user, slug, comparison_id)
        services.gold_unmark(comparison=comparison, by=access.person(request.user))
        return Response(status=status.HTTP_204_NO_CONTENT)


class PracticeSerializer(serializers.Serializer[Any]):
    user = serializers.CharField(source="user.username")
    n = serializers.IntegerField(help_text="Practice pairs.")
    n_answered = serializers.IntegerField()
    n_right = serializers.IntegerField()
    n_needed = serializers.IntegerField()
    is_qualified = serializers.BooleanField()
    attempt = serializers.IntegerField()


class Practices(APIView):
    """How far each annotator is with practice. PATCH sets how many % must be right (null: nobody has to practise)."""

    class OutputSerializer(serializers.Serializer[Any]):
        bound = serializers.IntegerField(allow_null=True)
        people = PracticeSerializer(many=True)

    @extend_schema(responses={200: OutputSerializer})
    def get(self, request: Request, slug: str) -> Response:
        project = access.project_for_adjudication(request.user, slug)
        told = {"bound": project.practice_bound, "people": selectors.practices_of(project)}
        return Response(self.OutputSerializer(told).data)

    @extend_schema(request=BoundBody, responses={200: BoundBody, 400: BAD})
    def patch(self, request: Request, slug: str) -> Response:
        project = access.project_for_adjudication(request.user, slug)
        form = filled(BoundForm(initial={"bound": project.practice_bound}), sent(BoundBody(data=request.data)))
        bound = form.cleaned_data["bound"]
        services.practice_bound_set(project=project, bound=bound, by=access.person(request.user))
        return Response({"bound": project.practice_bound})


class PracticeDecision(APIView):
    """Let an annotator have real pairs whatever they answered in practice, or practise again from the start."""

    class InputSerializer(BodySerializer):
        qualified = serializers.BooleanField()

    @extend_schema(request=InputSerializer, responses={200: PracticeSerializer})
    def put(self, request: Request, slug: str, username: str) -> Response:
        project = access.project_for_adjudication(request.user, slug)
        user = access.annotator_of(project, username)
        given = self.InputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        do = services.practice_let_in if given.validated_data["qualified"] else services.practice_again
        do(project=project, user=user, by=access.person(request.user))
        return Response(PracticeSerializer(selectors.practice_of(project, user)).data)


class BatchGroupSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    members = serializers.ListField(child=serializers.CharField(), help_text="Who is in it now, or was when it ended.")
    is_deleted = serializers.BooleanField()


class BatchSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField(source="batch.pk")
    name = serializers.CharField(source="batch.name")
    people = serializers.ListField(
        child=serializers.CharField(), help_text="Named ones. None, and no group: it is for everybody."
    )
    groups = BatchGroupSerializer(many=True)
    deadline = serializers.DateTimeField(source="batch.deadline", allow_null=True)
    closed_at = serializers.DateTimeField(source="batch.closed_at", allow_null=True)
    n = serializers.IntegerField()
    n_left = serializers.IntegerField()
    is_late = serializers.BooleanField()


class Batches(APIView):
    """The batches, open ones first. POST makes one of pairs that still want answers and fit."""

    @extend_schema(responses={200: BatchSerializer(many=True)})
    def get(self, request: Request, slug: str) -> Response:
        project = access.project_for_adjudication(request.user, slug)
        return Response(BatchSerializer(selectors.batches_of(project, now=timezone.now()), many=True).data)

    @extend_schema(request=BatchBody, responses={201: BatchSerializer, 400: BAD})
    def post(self, request: Request, slug: str) -> Response:
        project = access.project_for_adjudication(request.user, slug)
        form = filled(BatchForm(project), sent(BatchBody(data=request.data)))
        made = services.batch_of_fitting(project=project, by=access.person(request.user), **form.wanted())
        return Response(_batch(project, made.pk), status=status.HTTP_201_CREATED)


class BatchClose(APIView):
    """Close a batch: what is left of it comes like any other pair."""

    @extend_schema(request=None, responses={200: BatchSerializer})
    def post(self, request: Request, slug: str, pk: int) -> Response:
        batch = access.batch_for_lead(request.user, slug, pk)
        services.batch_close(batch=batch, by=access.person(request.user), now=timezone.now())
        return Response(_batch(batch.project, pk))


class WorkerSerializer(serializers.Serializer[Any]):
    user = serializers.CharField(source="user.username")
    n_labels = serializers.IntegerField()
    cost = serializers.DecimalField(max_digits=20, decimal_places=4, allow_null=True)
    pause = serializers.CharField(allow_blank=True, help_text="Why they are paused; empty: they are not.")


class BudgetSerializer(serializers.Serializer[Any]):
    labels = serializers.IntegerField(allow_null=True, help_text="Null: no limit.")
    price = serializers.DecimalField(max_digits=10, decimal_places=4, allow_null=True)
    currency = serializers.CharField()
    pause = serializers.CharField(allow_blank=True, help_text="Why annotation is paused; empty: it is not.")
    n_used = serializers.IntegerField()
    n_left = serializers.IntegerField(allow_null=True)
    n_day = serializers.IntegerField(help_text="Labels of the last 24 hours.")
    ends_at = serializers.DateTimeField(allow_null=True, help_text="When it is used up at that pace.")
    cost = serializers.DecimalField(max_digits=20, decimal_places=4, allow_null=True)
    cost_left = serializers.DecimalField(max_digits=20, decimal_places=4, allow_null=True)
    workers = WorkerSerializer(many=True)


class LabelBudget(APIView):
    """After how many labels no more pairs are given, what of that is used and by whom, and who is paused."""

    @extend_schema(responses={200: BudgetSerializer})
    def get(self, request: Request, slug: str) -> Response:
        return Response(_budget(access.project_for_adjudication(request.user, slug)))

    @extend_schema(request=BudgetBody, responses={200: BudgetSerializer, 400: BAD})
    def patch(self, request: Request, slug: str) -> Response:
        project = access.project_for_adjudication(request.user, slug)
        form = filled(BudgetForm(initial=BudgetForm.initial_of(project)), sent(BudgetBody(data=request.data)))
        services.budget_set(project=project, by=access.person(request.user), **form.budget())
        return Response(_budget(project))


class Pause(APIView):
    """Give nobody, or one member, pairs to annotate, and tell them why; or go on."""

    class InputSerializer(BodySerializer):
        paused = serializers.BooleanField()
        why = serializers.CharField(required=False, allow_blank=True, default="", help_text="Told to those paused.")
        user = serializers.CharField(
            required=False, allow_blank=True, default="", help_text="A member's name; left out: everybody."
        )

    @extend_schema(request=InputSerializer, responses={200: BudgetSerializer, 400: BAD})
    def put(self, request: Request, slug: str) -> Response:
        project = access.project_for_adjudication(request.user, slug)
        given = self.InputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        said = given.validated_data
        services.queue_pause(
            project=project,
            pauses=said["paused"],
            why=said["why"],
            user=access.member_of(project, said["user"]) if said["user"] else None,
            by=access.person(request.user),
        )
        return Response(_budget(project))


def _batch(project: Project, pk: int) -> dict[str, Any]:
    rows = selectors.batches_of(project, now=timezone.now())
    return dict(BatchSerializer(next(row for row in rows if row.batch.pk == pk)).data)


def _budget(project: Project) -> dict[str, Any]:
    said = BudgetForm.initial_of(project) | {"pause": project.pause}
    found = selectors.budget_of(project, now=timezone.now())
    names = ("n_used", "n_left", "n_day", "ends_at", "cost", "cost_left", "workers")
    return dict(BudgetSerializer(said | {name: getattr(found, name) for name in names}).data)
