"""Reviewing judges' labels by program: what is worth a review, what a judge said, and deciding about it."""

from __future__ import annotations

from typing import Any, cast

from django.http import Http404
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.core.api import BodySerializer
from apps.rankings import access, selectors, services
from apps.samples import exposure
from prefloop.types import OUTCOMES


class Reviews(APIView):
    """The first 50 pairs with a judge's label that nobody has decided, the most useful first. It tells no label."""

    class QuerySerializer(serializers.Serializer[Any]):
        judge = serializers.CharField(required=False, allow_blank=True, default="", max_length=120)
        decided = serializers.BooleanField(required=False, default=False)

    class OutputSerializer(serializers.Serializer[Any]):
        class PairSerializer(serializers.Serializer[Any]):
            comparison = serializers.IntegerField(source="comparison_id")
            prompt = serializers.CharField()
            worth = serializers.FloatField(source="worth.value")
            why = serializers.CharField(source="worth.reason")
            decision = serializers.CharField(
                allow_blank=True, help_text="agree, override, or decided where one was not shown which."
            )

        judge = serializers.CharField(allow_null=True)
        n = serializers.IntegerField(help_text="All of them.")
        pairs = PairSerializer(many=True)

    @extend_schema(
        parameters=[
            OpenApiParameter("judge", str, description="Its name; left out: the one whose labels count."),
            OpenApiParameter("decided", bool, description="Those that somebody decided instead."),
        ],
        responses={200: OutputSerializer},
    )
    def get(self, request: Request, slug: str) -> Response:
        project = access.project_for_review(request.user, slug)
        user = access.person(request.user)
        given = self.QuerySerializer(data=request.query_params)
        given.is_valid(raise_exception=True)
        asked = cast(dict[str, Any], given.validated_data)
        judge = selectors.review_judge(project, asked["judge"])
        if judge is None:
            return Response(self.OutputSerializer({"judge": None, "n": 0, "pairs": ()}).data)
        pairs = selectors.review_queue(
            project,
            judge=judge,
            decided=asked["decided"],
            viewer=user,
            with_people=access.may_see_people(user, project),
        )
        n = selectors.n_to_review(project, judge=judge, decided=asked["decided"])
        return Response(self.OutputSerializer({"judge": judge.name, "n": n, "pairs": pairs}).data)


class Decision(APIView):
    """What a judge said of a pair, and what was decided. PUT agrees with its label, or says what it should have been.

    Whoever reads it has seen the label, and does not vote blind on the pair any more.
    """

    class QuerySerializer(serializers.Serializer[Any]):
        judge = serializers.CharField(required=False, allow_blank=True, default="", max_length=120)

    class InputSerializer(BodySerializer):
        judge = serializers.CharField(max_length=120)
        choice = serializers.ChoiceField(
            choices=OUTCOMES, required=False, allow_blank=True, default="", help_text="Left out: one agrees."
        )
        reason = serializers.CharField(required=False, allow_blank=True, default="", max_length=services.MAX_REASON)

    class OutputSerializer(serializers.Serializer[Any]):
        id = serializers.IntegerField()
        comparison = serializers.IntegerField(source="comparison_id")
        kind = serializers.ChoiceField(choices=("agree", "override"))
        choice = serializers.CharField(allow_blank=True)
        reason = serializers.CharField(allow_blank=True)

    class SaidSerializer(serializers.Serializer[Any]):
        comparison = serializers.IntegerField(source="comparison.pk")
        prompt = serializers.CharField(source="comparison.prompt.text")
        first = serializers.CharField(source="comparison.first.text")
        second = serializers.CharField(source="comparison.second.text")
        judge = serializers.CharField(source="judge.name")
        criterion = serializers.CharField(
            source="judge.criterion_name", help_text="The named one that it judges by, or empty."
        )
        said = serializers.CharField(source="said.outcome", help_text="Its label, or the state where there is none.")
        rationales = serializers.SerializerMethodField()
        decision = serializers.CharField(source="decision.kind", default="", help_text="agree, override, or empty.")
        choice = serializers.CharField(source="decision.choice", default="")
        decided_by = serializers.CharField(source="decision.rater", default="")

        def get_rationales(self, row: selectors.ReviewDetail) -> list[str]:
            return [verdict.rationale for verdict in row.said.verdicts]

    @extend_schema(parameters=[OpenApiParameter("judge", str)], responses={200: SaidSerializer})
    def get(self, request: Request, slug: str, comparison_id: int) -> Response:
        comparison = access.comparison_for_review(request.user, slug, comparison_id)
        given = self.QuerySerializer(data=request.query_params)
        given.is_valid(raise_exception=True)
        name = cast(dict[str, str], given.validated_data)["judge"]
        judge = selectors.review_judge(comparison.project, name, comparison_ids=[comparison.pk])
        if judge is None:
            raise Http404
        exposure.shown(user_id=request.user.pk, comparison_ids=[comparison.pk], where="api-decision")
        people = access.may_see_people(request.user, comparison.project)
        detail = selectors.review_detail(comparison, judge, with_people=people)
        return Response(self.SaidSerializer(detail).data)

    @extend_schema(request=InputSerializer, responses={200: OutputSerializer})
    def put(self, request: Request, slug: str, comparison_id: int) -> Response:
        comparison = access.comparison_for_review(request.user, slug, comparison_id)
        given = self.InputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        values = cast(dict[str, Any], given.validated_data)
        judge = selectors.review_judge(comparison.project, values["judge"], comparison_ids=[comparison.pk])
        if judge is None or judge.name != values["judge"]:
            raise serializers.ValidationError({"judge": [f"no judge {values['judge']!r} in this project"]})
        made = services.override_create(
            comparison=comparison,
            judge=judge,
            user=access.person(request.user),
            kind="override" if values["choice"] else "agree",
            choice=values["choice"],
            reason=values["reason"],
            now=timezone.now(),
        )
        return Response(self.OutputSerializer(made).data)

    @extend_schema(
        parameters=[OpenApiParameter("criterion", str, description="That of the judge, where it has a named one.")],
        request=None,
        responses={204: None, 409: OpenApiResponse(description="There is none of yours.")},
    )
    def delete(self, request: Request, slug: str, comparison_id: int) -> Response:
        comparison = access.comparison_for_review(request.user, slug, comparison_id)
        user, criterion = access.person(request.user), request.query_params.get("criterion", "")
        services.override_withdraw(comparison=comparison, user=user, now=timezone.now(), criterion=criterion)
        return Response(status=status.HTTP_204_NO_CONTENT)
