"""Practice by program: pairs with the right answer afterwards, for people who are not qualified yet."""

from __future__ import annotations

from typing import Any

from django.http import Http404
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.models import Scope, User
from apps.core.api import BodySerializer
from apps.projects.models import Project
from apps.rankings import access, selectors, services
from apps.rankings.api import TextSerializer
from apps.samples.models import Comparison
from prefloop.types import UNLABELLED

CHOICES = tuple(choice for choice in services.CHOICES if choice not in UNLABELLED)


class PracticePairSerializer(serializers.Serializer[Any]):
    comparison = serializers.IntegerField()
    prompt = serializers.CharField()
    left = TextSerializer()
    right = TextSerializer()


class FarSerializer(serializers.Serializer[Any]):
    """How far somebody is with practice."""

    n = serializers.IntegerField()
    n_answered = serializers.IntegerField()
    n_right = serializers.IntegerField()
    n_needed = serializers.IntegerField()
    is_qualified = serializers.BooleanField()


class Practice(APIView):
    """The next practice pair of this user, and how far they are. POST answers one, and says what was right."""

    scope = Scope.ANNOTATE

    class OutputSerializer(FarSerializer):
        next = PracticePairSerializer(allow_null=True, help_text="Null: all are answered.")

    class InputSerializer(BodySerializer):
        comparison = serializers.IntegerField(min_value=1)
        choice = serializers.ChoiceField(choices=CHOICES)

    class AnsweredSerializer(OutputSerializer):
        choice = serializers.CharField(help_text="The first answer of an attempt stands.")
        right_choice = serializers.CharField()
        note = serializers.CharField(allow_blank=True, help_text="Why that is right.")

    @extend_schema(responses={200: OutputSerializer})
    def get(self, request: Request, slug: str) -> Response:
        user = access.person(request.user)
        return Response(self.OutputSerializer(_far(access.project_for_annotate(user, slug), user)).data)

    @extend_schema(
        request=InputSerializer,
        responses={
            200: AnsweredSerializer,
            400: OpenApiResponse(description="Nobody practises here, or on this pair."),
        },
    )
    def post(self, request: Request, slug: str) -> Response:
        user = access.person(request.user)
        project = access.project_for_annotate(user, slug)
        if project.practice_bound is None or project.asks_ratings:
            raise services.BadGold("nobody has to practise on pairs in this project")
        given = self.InputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        pair = selectors.practice_pairs(project).filter(pk=given.validated_data["comparison"]).first()
        if pair is None:
            raise Http404
        made = services.practice_answer(comparison=pair, user=user, choice=given.validated_data["choice"])
        order = selectors.practice_order(pair, user)
        said = {"choice": _side(made.choice, order), "right_choice": _side(made.gold, order)}
        return Response(self.AnsweredSerializer(_far(project, user) | said | {"note": pair.gold_item.note}).data)


def _far(project: Project, user: User) -> dict[str, Any]:
    practice = selectors.practice_of(project, user)
    asked = project.practice_bound is not None and not project.asks_ratings
    pair = selectors.practice_next(project, practice) if asked else None
    names = ("n", "n_answered", "n_right", "n_needed", "is_qualified")
    return {name: getattr(practice, name) for name in names} | {"next": pair and _shown(pair, user)}


def _shown(pair: Comparison, user: User) -> dict[str, Any]:
    sides = [{"text": pair.first.text}, {"text": pair.second.text}]
    left, right = sides if selectors.practice_order(pair, user) == "01" else sides[::-1]
    return {"comparison": pair.pk, "prompt": pair.prompt.text, "left": left, "right": right}


def _side(outcome: str, order: str) -> str:
    """An outcome in terms of the sides on which the answers were shown."""
    if outcome in {"first", "second"}:
        return "left" if (outcome == "first") == (order == "01") else "right"
    return outcome
