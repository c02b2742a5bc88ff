"""Rankings by programs: of the sets of answers that `next/` leases where the project's task asks for them."""

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
from apps.rankings import access, services
from apps.rankings.api import LeasedSerializer, leased
from apps.rankings.said_api import KeyedSerializer
from prefloop.reasons import LONGEST, MOST
from prefloop.tasks import FEWEST_IN_SET, MOST_IN_SET


class RankingCreate(APIView):
    """Rank a leased set of answers. Sending the same ranking again returns it."""

    scope = Scope.ANNOTATE

    class InputSerializer(KeyedSerializer):
        assignment = serializers.IntegerField(min_value=1)
        ranks = serializers.ListField(
            child=serializers.IntegerField(min_value=1, max_value=MOST_IN_SET),
            min_length=FEWEST_IN_SET,
            max_length=MOST_IN_SET,
            help_text="The place of each answer, in the order of `answers`: 1 is the best, equal numbers are ties. "
            "Where the task is best_worst: 1 the best, 2 the others, 3 the worst.",
        )
        reasons = serializers.ListField(
            child=serializers.CharField(max_length=LONGEST),
            required=False,
            default=list,
            max_length=MOST,
            help_text="Short ones, of those that came with the set.",
        )

    class OutputSerializer(serializers.Serializer[Any]):
        ranking = serializers.IntegerField()
        assignment = serializers.IntegerField()
        guideline = serializers.CharField(allow_blank=True)
        next = LeasedSerializer(allow_null=True, help_text="The next pair or set; null if none is left or asked for.")

    @extend_schema(
        request=InputSerializer,
        responses={
            201: OutputSerializer,
            200: OpenApiResponse(OutputSerializer, description="The same ranking was already stored."),
            409: OpenApiResponse(
                description="The user was shown a label of the set meanwhile, or another answer is stored."
            ),
        },
    )
    def post(self, request: Request) -> Response:
        given = self.InputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        values = cast(dict[str, Any], given.validated_data)
        assignment = access.assignment_for_write(access.person(request.user), values["assignment"])
        names = ("ranks", "key", "reason", "reasons", "seconds", "guideline")
        said = services.Answered(**{name: values[name] for name in names})
        taken, now = None, timezone.now()
        if values["next"]:
            ranked, taken = services.rank_and_next(assignment=assignment, said=said, now=now, rng=SystemRandom())
        else:
            ranked = services.rank_create(assignment=assignment, said=said, now=now)
        body = {
            "ranking": ranked.ranking.pk,
            "assignment": assignment.pk,
            "guideline": ranked.ranking.guideline,
            "next": None if taken is None else leased(taken.assignment, assignment.asks_now),
        }
        code = status.HTTP_201_CREATED if ranked.created else status.HTTP_200_OK
        return Response(self.OutputSerializer(body).data, status=code)
