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
from apps.projects.selectors import guideline_asks_strength
from apps.rankings import access, selectors, services
from apps.rankings.models import Assignment
from prefloop.types import STRENGTHS


class TextSerializer(serializers.Serializer[Any]):
    text = serializers.CharField()


class LeasedSerializer(serializers.Serializer[Any]):
    assignment = serializers.IntegerField()
    comparison = serializers.IntegerField()
    prompt = serializers.CharField()
    left = TextSerializer()
    right = TextSerializer()
    guideline = serializers.CharField(
        allow_blank=True, help_text="The version of the guideline that applies to this comparison."
    )
    asks_strength = serializers.BooleanField(help_text="Whether that version asks how much better an answer is.")
    lease_until = serializers.DateTimeField()


def leased(assignment: Assignment, *, asks_strength: bool) -> dict[str, Any]:
    """What a program gets of a comparison that is leased to its user."""
    pair = selectors.pair_of(assignment)
    return {
        "assignment": pair.assignment,
        "comparison": pair.comparison,
        "prompt": pair.prompt,
        "left": {"text": pair.left},
        "right": {"text": pair.right},
        "guideline": assignment.guideline,
        "asks_strength": asks_strength,
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
        asks = guideline_asks_strength(project, assignment.guideline)
        return Response(LeasedSerializer(leased(assignment, asks_strength=asks)).data)


class VoteCreate(APIView):
    """Vote on a leased comparison. Sending the same vote again returns it."""

    scope = Scope.ANNOTATE

    class InputSerializer(serializers.Serializer[Any]):
        assignment = serializers.IntegerField(min_value=1)
        choice = serializers.ChoiceField(choices=services.CHOICES)
        reason = serializers.CharField(
            required=False, allow_blank=True, default="", max_length=services.MAX_REASON, trim_whitespace=True
        )
        strength = serializers.ChoiceField(
            choices=STRENGTHS,
            required=False,
            allow_blank=True,
            default="",
            help_text="How much better the chosen answer is, where the guideline asks.",
        )
        seconds = serializers.FloatField(required=False, allow_null=True, default=None, min_value=0, max_value=86400)
        guideline = serializers.CharField(
            required=False,
            allow_blank=True,
            allow_null=True,
            default=None,
            max_length=40,
            help_text="The version that the person saw; if left out, the one that came with the comparison.",
        )
        next = serializers.BooleanField(
            required=False, default=False, help_text="Lease the next comparison too, and return it with the vote."
        )

    class OutputSerializer(serializers.Serializer[Any]):
        vote = serializers.IntegerField()
        assignment = serializers.IntegerField()
        choice = serializers.ChoiceField(choices=services.CHOICES)
        guideline = serializers.CharField(allow_blank=True)
        next = LeasedSerializer(allow_null=True, help_text="The next comparison; null if none is left or asked for.")

    @extend_schema(
        request=InputSerializer,
        responses={
            201: OutputSerializer,
            200: OpenApiResponse(OutputSerializer, description="The same vote was already stored."),
            409: OpenApiResponse(
                description="The lease ran out and somebody else has the comparison, or another vote was "
                "already stored."
            ),
        },
    )
    def post(self, request: Request) -> Response:
        given = self.InputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        values = cast(dict[str, Any], given.validated_data)
        assignment = access.assignment_for_write(access.person(request.user), values["assignment"])
        said = {name: values[name] for name in ("choice", "strength", "reason", "seconds", "guideline")}
        said |= {"assignment": assignment, "now": timezone.now()}
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
            "next": None if taken is None else leased(taken.assignment, asks_strength=assignment.strength_now),
        }
        code = status.HTTP_201_CREATED if voted.created else status.HTTP_200_OK
        return Response(self.OutputSerializer(body).data, status=code)
