"""Rating answers by programs: lease the next answer, then rate it by its rubric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from django.utils import timezone
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.models import Scope
from apps.labels.models import RATED
from apps.rankings.said_api import KeyedSerializer
from apps.ratings import access, selectors, services
from apps.ratings.models import RatingSeat


class RubricItemSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    question = serializers.CharField()
    kind = serializers.CharField(help_text="1-5, or yes/no: 1 for yes and 0 for no.")
    weight = serializers.FloatField(help_text="Its part of the total.")


class LeasedAnswerSerializer(serializers.Serializer[Any]):
    seat = serializers.IntegerField()
    prompt = serializers.CharField()
    answer = serializers.CharField()
    rubric = RubricItemSerializer(many=True, help_text="The items to give a value for, in the order of the page.")
    guideline = serializers.CharField(help_text="The version of the guideline that applies to this answer.")
    lease_until = serializers.DateTimeField()


def rubric_told(items: Sequence[selectors.ShownItem]) -> list[dict[str, Any]]:
    """The items of a rubric for programs."""
    return [{name: getattr(one, name) for name in ("name", "question", "kind", "weight")} for one in items]


def leased(seat: RatingSeat) -> dict[str, Any]:
    """What a program gets of an answer that is leased to its user."""
    (shown,) = selectors.answers_of([seat])
    return {
        "seat": shown.seat,
        "prompt": shown.prompt,
        "answer": shown.text,
        "rubric": rubric_told(shown.items),
        "guideline": shown.guideline,
        "lease_until": shown.lease_until,
    }


class NextAnswer(APIView):
    """Lease the next answer to this user, where the project's task is to rate answers."""

    scope = Scope.ANNOTATE

    @extend_schema(
        request=None, responses={200: LeasedAnswerSerializer, 204: OpenApiResponse(description="Nothing is left.")}
    )
    def post(self, request: Request, slug: str) -> Response:
        user = access.person(request.user)
        project = access.project_for_rating(user, slug)
        seats = services.seats_lease(project=project, user=user, n=1, now=timezone.now())
        if not seats:
            return Response(status=status.HTTP_204_NO_CONTENT)
        return Response(LeasedAnswerSerializer(leased(seats[0])).data)


class RatingUndo(APIView):
    """Undo one's own rating of a seat, of the last ten: the answer is leased again."""

    scope = Scope.ANNOTATE

    @extend_schema(
        request=None,
        responses={200: LeasedAnswerSerializer, 400: OpenApiResponse(description="It can't be undone any more.")},
    )
    def delete(self, request: Request, seat: int) -> Response:
        user = access.person(request.user)
        given = access.seat_for_write(user, seat)
        back = services.rating_undo(project=given.project, user=user, seat=given, now=timezone.now())
        return Response(LeasedAnswerSerializer(leased(back)).data)


class RatingCreate(APIView):
    """Rate a leased answer. Sending the same rating again returns it."""

    scope = Scope.ANNOTATE

    class InputSerializer(KeyedSerializer):
        seat = serializers.IntegerField(min_value=1)
        choice = serializers.ChoiceField(choices=services.CHOICES, required=False, default=RATED)
        values = serializers.DictField(
            child=serializers.IntegerField(),
            required=False,
            default=dict,
            help_text="A number for each item of the rubric by its name: 1 to 5, or 1 (yes) and 0 (no).",
        )

    class OutputSerializer(serializers.Serializer[Any]):
        rating = serializers.IntegerField()
        seat = serializers.IntegerField()
        choice = serializers.CharField()
        total = serializers.FloatField(allow_null=True, help_text="The weighted mean of the values, from 0 to 1.")
        guideline = serializers.CharField()
        next = LeasedAnswerSerializer(allow_null=True, help_text="The next answer; null if none is left or asked for.")

    @extend_schema(
        request=InputSerializer,
        responses={
            201: OutputSerializer,
            200: OpenApiResponse(OutputSerializer, description="The same rating was already stored."),
            409: OpenApiResponse(
                description="The user was shown a label of the answer meanwhile, or another rating is stored."
            ),
        },
    )
    def post(self, request: Request) -> Response:
        given = self.InputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        values = cast(dict[str, Any], given.validated_data)
        seat = access.seat_for_write(access.person(request.user), values["seat"])
        names = ("choice", "values", "key", "reason", "seconds", "guideline")
        said = services.Rated(**{name: values[name] for name in names})
        taken, now = None, timezone.now()
        if values["next"]:
            stored, taken = services.rating_and_next(seat=seat, said=said, now=now)
        else:
            stored = services.rating_create(seat=seat, said=said, now=now)
        body = {
            "rating": stored.rating.pk,
            "seat": seat.pk,
            "choice": stored.rating.choice,
            "total": stored.rating.total,
            "guideline": stored.rating.guideline,
            "next": None if taken is None else leased(taken),
        }
        code = status.HTTP_201_CREATED if stored.created else status.HTTP_200_OK
        return Response(self.OutputSerializer(body).data, status=code)
