"""Blind voting by programs: lease the next comparison, then vote on it."""

from __future__ import annotations

from random import SystemRandom
from typing import Any, cast

from django.utils import timezone
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.models import Scope
from apps.projects.selectors import Asks, guideline_asks
from apps.rankings import access, selectors, services
from apps.rankings.models import Assignment
from apps.rankings.said_api import MarkSerializer, SaidSerializer
from prefloop.marks import MOST as MOST_MARKS
from prefloop.reasons import LONGEST as LONGEST_REASON
from prefloop.reasons import MOST as MOST_REASONS
from prefloop.tasks import PAIR
from prefloop.types import STRENGTHS


class TextSerializer(serializers.Serializer[Any]):
    text = serializers.CharField()


class LeasedSerializer(serializers.Serializer[Any]):
    assignment = serializers.IntegerField()
    comparison = serializers.IntegerField()
    prompt = serializers.CharField()
    task = serializers.CharField(help_text="pair, or of a set of answers: ranking or best_worst.")
    left = TextSerializer(allow_null=True, help_text="Of a pair; null for a set.")
    right = TextSerializer(allow_null=True, help_text="Of a pair; null for a set.")
    answers = TextSerializer(many=True, help_text="Of a set, in the order shown; empty for a pair.")
    guideline = serializers.CharField(
        allow_blank=True, help_text="The version of the guideline that applies to this comparison."
    )
    criterion = serializers.CharField(
        allow_blank=True, help_text="The named criterion that the vote is by; empty where the project asks by none."
    )
    question = serializers.CharField(allow_blank=True, help_text="What is asked by that criterion.")
    asks_strength = serializers.BooleanField(help_text="Whether that version asks how much better an answer is.")
    reasons = serializers.ListField(
        child=serializers.CharField(), help_text="Short ones of that version, which a vote on a pair may name."
    )
    asks_marks = serializers.BooleanField(help_text="Whether a vote on a pair may mark passages of its answers.")
    lease_until = serializers.DateTimeField()


def leased(assignment: Assignment, asks: Asks) -> dict[str, Any]:
    """What a program gets of a comparison that is leased to its user."""
    (pair,) = selectors.items_of([assignment])
    said: dict[str, Any]
    if isinstance(pair, selectors.ShownSet):
        task = services.task_now(assignment).name
        said = {"task": task, "left": None, "right": None, "answers": [{"text": one.text} for one in pair.answers]}
        said |= {"criterion": "", "question": ""}
    else:
        said = {"task": PAIR.name, "left": {"text": pair.left}, "right": {"text": pair.right}, "answers": []}
        said |= {"criterion": pair.criterion, "question": pair.question}
    return said | {
        "assignment": pair.assignment,
        "comparison": pair.comparison,
        "prompt": pair.prompt,
        "guideline": assignment.guideline,
        "asks_strength": asks.strength,
        "reasons": asks.reasons,
        "asks_marks": asks.marks,
        "lease_until": pair.lease_until,
    }


class NextComparison(APIView):
    """Lease the next comparison to this user."""

    scope = Scope.ANNOTATE

    @extend_schema(
        request=None, responses={200: LeasedSerializer, 204: OpenApiResponse(description="Nothing is left.")}
    )
    def post(self, request: Request, slug: str) -> Response:
        user = access.person(request.user)
        project = access.project_for_annotate(user, slug)
        assignment = services.assignment_next(project=project, user=user, now=timezone.now(), rng=SystemRandom())
        if assignment is None:
            return Response(status=status.HTTP_204_NO_CONTENT)
        asks = guideline_asks(project, assignment.guideline)
        return Response(LeasedSerializer(leased(assignment, asks)).data)


class VoteUndo(APIView):
    """Undo one's own answer to an assignment, of the last ten: the pair is leased again, with the same sides."""

    scope = Scope.ANNOTATE

    @extend_schema(
        request=None,
        responses={200: LeasedSerializer, 400: OpenApiResponse(description="It can't be undone any more.")},
    )
    def delete(self, request: Request, assignment: int) -> Response:
        user = access.person(request.user)
        given = access.assignment_for_write(user, assignment)
        back = services.vote_undo(project=given.project, user=user, assignment=given, now=timezone.now())
        asks = guideline_asks(given.project, back.guideline)
        return Response(LeasedSerializer(leased(back, asks)).data)


class VoteCreate(APIView):
    """Vote on a leased comparison. Sending the same vote again returns it."""

    scope = Scope.ANNOTATE

    class InputSerializer(SaidSerializer):
        assignment = serializers.IntegerField(min_value=1)
        choice = serializers.ChoiceField(choices=services.CHOICES)
        strength = serializers.ChoiceField(
            choices=STRENGTHS,
            required=False,
            allow_blank=True,
            default="",
            help_text="How much better the chosen answer is, where the guideline asks.",
        )
        reasons = serializers.ListField(
            child=serializers.CharField(max_length=LONGEST_REASON),
            required=False,
            default=list,
            max_length=MOST_REASONS,
            help_text="Short ones, of those that came with the comparison.",
        )
        marks = serializers.ListField(
            child=MarkSerializer(),
            required=False,
            default=list,
            max_length=MOST_MARKS,
            help_text="Passages of the two answers, where the guideline asks; those of one answer do not overlap.",
        )

    class OutputSerializer(serializers.Serializer[Any]):
        vote = serializers.IntegerField()
        assignment = serializers.IntegerField()
        choice = serializers.ChoiceField(choices=services.CHOICES)
        guideline = serializers.CharField(allow_blank=True)
        criterion = serializers.CharField(allow_blank=True)
        next = LeasedSerializer(allow_null=True, help_text="The next comparison; null if none is left or asked for.")

    @extend_schema(
        request=InputSerializer,
        responses={
            201: OutputSerializer,
            200: OpenApiResponse(OutputSerializer, description="The same vote was already stored."),
            409: OpenApiResponse(
                description="The user was shown a label of the comparison meanwhile, or another vote is stored."
            ),
        },
    )
    def post(self, request: Request) -> Response:
        given = self.InputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        values = cast(dict[str, Any], given.validated_data)
        user, marks = access.person(request.user), values["marks"]
        assignment = access.assignment_for_write(user, values["assignment"], texts=bool(marks))
        said = {name: values[name] for name in ("choice", "strength", "reason", "reasons", "seconds", "guideline")}
        said |= {"assignment": assignment, "now": timezone.now(), "marks": services.marks_said(assignment, marks)}
        taken = None
        if values["next"]:
            voted, taken = services.vote_and_next(**said, rng=SystemRandom())
        else:
            voted = services.vote_create(**said)
        body = {
            "vote": voted.vote.pk,
            "assignment": assignment.pk,
            "choice": values["choice"],
            "guideline": voted.vote.guideline,
            "criterion": voted.vote.criterion,
            "next": None if taken is None else leased(taken.assignment, assignment.asks_now),
        }
        code = status.HTTP_201_CREATED if voted.created else status.HTTP_200_OK
        return Response(self.OutputSerializer(body).data, status=code)
