"""For leads' programs: pairs on which people split, decisions on them, and the whole history of a pair."""

from __future__ import annotations

from typing import Any, cast

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.core.api import BodySerializer
from apps.rankings import access, selectors, services
from apps.samples import exposure
from prefloop.criteria import LONGEST_NAME
from prefloop.marks import KINDS
from prefloop.types import OUTCOMES, STRENGTHS


class SplitPairs(APIView):
    """The pairs on which people split, or that they could not judge, and nobody has decided; with `decided` those on
    which somebody has.
    """

    class QuerySerializer(serializers.Serializer[Any]):
        decided = serializers.BooleanField(required=False, default=False)

    class OutputSerializer(serializers.Serializer[Any]):
        comparison = serializers.IntegerField(source="comparison_id")
        n_votes = serializers.IntegerField()
        n_largest = serializers.IntegerField(help_text="Votes for the most frequent outcome.")
        n_cant_judge = serializers.IntegerField(help_text="Votes that say “can’t judge”; they are among `n_votes`.")
        has_majority = serializers.BooleanField()
        criterion = serializers.CharField(allow_blank=True, help_text="The named one by which they voted.")
        choice = serializers.CharField(source="adjudication.choice", default="", allow_blank=True)
        decided_by = serializers.CharField(source="adjudication.rater", default="", allow_blank=True)

    @extend_schema(parameters=[OpenApiParameter("decided", bool)], responses={200: OutputSerializer(many=True)})
    def get(self, request: Request, slug: str) -> Response:
        project = access.project_for_adjudication(request.user, slug)
        given = self.QuerySerializer(data=request.query_params)
        given.is_valid(raise_exception=True)
        pairs = selectors.split_pairs(project, decided=cast(dict[str, Any], given.validated_data)["decided"])
        shown = [pair.comparison_id for pair in pairs if pair.adjudication is not None]
        exposure.shown(user_id=request.user.pk, comparison_ids=shown, where="api-split")
        return Response(self.OutputSerializer(pairs, many=True).data)


class Adjudicate(APIView):
    """Decide a pair on which people split; DELETE withdraws one's own decision."""

    class InputSerializer(BodySerializer):
        choice = serializers.ChoiceField(choices=OUTCOMES)
        reason = serializers.CharField(required=False, allow_blank=True, default="", max_length=services.MAX_REASON)
        criterion = serializers.CharField(required=False, allow_blank=True, default="", max_length=LONGEST_NAME)

    class OutputSerializer(serializers.Serializer[Any]):
        vote = serializers.IntegerField(source="pk")
        comparison = serializers.IntegerField(source="comparison_id")
        criterion = serializers.CharField(allow_blank=True)
        choice = serializers.CharField()
        reason = serializers.CharField(allow_blank=True)

    @extend_schema(request=InputSerializer, responses={200: OutputSerializer})
    def put(self, request: Request, slug: str, comparison_id: int) -> Response:
        comparison = access.comparison_for_adjudication(request.user, slug, comparison_id)
        given = self.InputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        values = cast(dict[str, Any], given.validated_data)
        made = services.adjudication_create(
            comparison=comparison, user=access.person(request.user), **values, now=timezone.now()
        )
        return Response(self.OutputSerializer(made).data)

    @extend_schema(
        parameters=[OpenApiParameter("criterion", str)],
        request=None,
        responses={204: None, 409: OpenApiResponse(description="There is none of yours.")},
    )
    def delete(self, request: Request, slug: str, comparison_id: int) -> Response:
        comparison = access.comparison_for_adjudication(request.user, slug, comparison_id)
        user, criterion = access.person(request.user), request.query_params.get("criterion", "")
        services.adjudication_withdraw(comparison=comparison, user=user, now=timezone.now(), criterion=criterion)
        return Response(status=status.HTTP_204_NO_CONTENT)


class MarkedSerializer(serializers.Serializer[Any]):
    answer = serializers.ChoiceField(choices=OUTCOMES[:2], help_text="Of the comparison, in its own order.")
    start = serializers.IntegerField(help_text="Of the answer's text, in Unicode code points, from 0.")
    end = serializers.IntegerField(help_text="The character after the last one that is marked.")
    kind = serializers.ChoiceField(choices=KINDS)
    reason = serializers.CharField(allow_blank=True, help_text="One of the short reasons, or none.")
    text = serializers.CharField(help_text="What is marked.")


class History(APIView):
    """All that was said of a pair, oldest first, with what does not count and who was excluded when."""

    class OutputSerializer(serializers.Serializer[Any]):
        at = serializers.DateTimeField()
        kind = serializers.ChoiceField(choices=selectors.EVENTS)
        id = serializers.IntegerField(source="row.pk")
        who = serializers.CharField(source="name")
        criterion = serializers.CharField(allow_blank=True, help_text="The named one by which it was said.")
        said = serializers.CharField(allow_blank=True, help_text="The outcome, or the state where there is none.")
        strength = serializers.ChoiceField(choices=STRENGTHS, allow_blank=True)
        reason = serializers.CharField(source="why", allow_blank=True)
        reasons = serializers.ListField(child=serializers.CharField(), help_text="Short ones that a voter chose.")
        marks = MarkedSerializer(many=True, help_text="Passages of the answers that a voter marked.")
        counts = serializers.BooleanField()

    @extend_schema(responses={200: OutputSerializer(many=True)})
    def get(self, request: Request, slug: str, comparison_id: int) -> Response:
        comparison = access.comparison_for_adjudication(request.user, slug, comparison_id)
        exposure.shown(user_id=request.user.pk, comparison_ids=[comparison.pk], where="api-history")
        return Response(self.OutputSerializer(selectors.label_history(comparison), many=True).data)


class AgreeMany(APIView):
    """Agree with a judge's labels of several comparisons in one step; DELETE takes back one's last step."""

    class InputSerializer(BodySerializer):
        judge = serializers.CharField(max_length=120)
        comparisons = serializers.ListField(
            child=serializers.IntegerField(min_value=1), allow_empty=False, max_length=services.MOST_TOGETHER
        )

    class OutputSerializer(serializers.Serializer[Any]):
        n_agreed = serializers.IntegerField(
            help_text="Without those decided before and those on which the judge has no label."
        )

    @extend_schema(request=InputSerializer, responses={200: OutputSerializer})
    def post(self, request: Request, slug: str) -> Response:
        project = access.project_for_review(request.user, slug)
        given = self.InputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        values = cast(dict[str, Any], given.validated_data)
        judge = selectors.review_judge(project, values["judge"])
        if judge is None:
            raise serializers.ValidationError({"judge": [f"no judge {values['judge']!r} in this project"]})
        n = services.agree_many(
            project=project,
            judge=judge,
            comparison_ids=values["comparisons"],
            user=access.person(request.user),
            now=timezone.now(),
        )
        return Response(self.OutputSerializer({"n_agreed": n}).data)

    @extend_schema(request=None, responses={204: None, 409: OpenApiResponse(description="There is none of yours.")})
    def delete(self, request: Request, slug: str) -> Response:
        project = access.project_for_review(request.user, slug)
        services.override_undo(project=project, user=access.person(request.user), now=timezone.now())
        return Response(status=status.HTTP_204_NO_CONTENT)
