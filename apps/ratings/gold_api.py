"""Answers whose right rating is known: saying so, for leads' programs, and practising on them, for annotators'."""

from __future__ import annotations

from typing import Any

from django.http import Http404
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.models import Scope, User
from apps.core.api import BodySerializer
from apps.labels.models import GoldItem
from apps.projects.models import Project
from apps.rankings import selectors as work
from apps.rankings.practice_api import FarSerializer
from apps.rankings.services import BadGold, practice_rate
from apps.ratings import access, selectors, services
from apps.ratings.api import RubricItemSerializer, rubric_told
from prefloop.rubrics import rubric_loaded

_VALUES = "A number for each item of the rubric by its name: 1 to 5, or 1 (yes) and 0 (no)."


class AnswerGold(APIView):
    """Say what the right rating of an answer is, so that it measures people; DELETE: it is not known."""

    class InputSerializer(BodySerializer):
        values = serializers.DictField(child=serializers.IntegerField(), help_text=_VALUES)
        note = serializers.CharField(
            required=False, allow_blank=True, default="", help_text="Why; shown to whoever practises on it."
        )
        for_practice = serializers.BooleanField(required=False, default=False)

    @extend_schema(
        request=InputSerializer,
        responses={200: InputSerializer, 400: OpenApiResponse(description="One line says why nothing changed.")},
    )
    def put(self, request: Request, slug: str, answer_id: int) -> Response:
        answer = access.answer_for_adjudication(request.user, slug, answer_id)
        given = self.InputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        services.rating_gold_mark(answer=answer, by=access.person(request.user), **given.validated_data)
        return Response(given.data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, slug: str, answer_id: int) -> Response:
        answer = access.answer_for_adjudication(request.user, slug, answer_id)
        services.rating_gold_unmark(answer=answer, by=access.person(request.user))
        return Response(status=status.HTTP_204_NO_CONTENT)


class PracticeAnswerSerializer(serializers.Serializer[Any]):
    answer_id = serializers.IntegerField()
    prompt = serializers.CharField()
    answer = serializers.CharField()
    rubric = RubricItemSerializer(many=True)


class RatingPractice(APIView):
    """The next practice answer of this user, and how far they are. POST rates one, and says what was right."""

    scope = Scope.ANNOTATE

    class OutputSerializer(FarSerializer):
        next = PracticeAnswerSerializer(allow_null=True, help_text="Null: all are rated.")

    class InputSerializer(BodySerializer):
        answer_id = serializers.IntegerField(min_value=1)
        values = serializers.DictField(child=serializers.IntegerField(), help_text=_VALUES)

    class RatedSerializer(OutputSerializer):
        values = serializers.DictField(
            child=serializers.IntegerField(), help_text="The first rating of an attempt stands."
        )
        right_values = serializers.DictField(child=serializers.IntegerField())
        is_right = serializers.BooleanField(help_text="Each yes or no as it is known, each number at most one away.")
        note = serializers.CharField(allow_blank=True, help_text="Why that is right.")

    @extend_schema(responses={200: OutputSerializer})
    def get(self, request: Request, slug: str) -> Response:
        user = access.person(request.user)
        return Response(self.OutputSerializer(_far(access.project_for_rating(user, slug), user)).data)

    @extend_schema(
        request=InputSerializer,
        responses={
            200: RatedSerializer,
            400: OpenApiResponse(description="Nobody practises here, or the values do not answer the rubric."),
        },
    )
    def post(self, request: Request, slug: str) -> Response:
        user = access.person(request.user)
        project = access.project_for_rating(user, slug)
        if project.practice_bound is None or not project.asks_ratings:
            raise BadGold("nobody has to practise to rate answers in this project")
        given = self.InputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        item = work.practice_ratings(project).filter(completion=given.validated_data["answer_id"]).first()
        if item is None:
            raise Http404
        made = practice_rate(item=item, user=user, values=given.validated_data["values"])
        said = {"values": made.values, "right_values": made.known, "is_right": made.is_right, "note": item.note}
        return Response(self.RatedSerializer(_far(project, user) | said).data)


def _far(project: Project, user: User) -> dict[str, Any]:
    mine = work.practice_of(project, user)
    asked = project.practice_bound is not None and project.asks_ratings
    item = work.practice_rating_next(project, mine) if asked else None
    names = ("n", "n_answered", "n_right", "n_needed", "is_qualified")
    return {name: getattr(mine, name) for name in names} | {"next": None if item is None else _shown(item)}


def _shown(item: GoldItem) -> dict[str, Any]:
    answer = item.answer
    rubric = rubric_told(selectors.items_shown(rubric_loaded(item.rubric)))
    return {"answer_id": answer.pk, "prompt": answer.prompt.text, "answer": answer.text, "rubric": rubric}
