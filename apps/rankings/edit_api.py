"""Edited answers for programs: making one, and reading those that there are."""

from __future__ import annotations

from typing import Any, cast

from django.utils import timezone
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.models import Scope
from apps.core.api import BodySerializer
from apps.rankings import access, services
from apps.samples.exposure import shown
from apps.samples.selectors import edited_answers
from prefloop.criteria import LONGEST_NAME

BAD = OpenApiResponse(description="One line says why nothing was kept.")


class EditedSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField(source="completion.pk")
    prompt = serializers.CharField(source="completion.prompt.external_id")
    of = serializers.IntegerField(source="completion.parent_id", help_text="The answer that was edited.")
    before = serializers.CharField(source="completion.parent.text", allow_blank=True)
    text = serializers.CharField(source="completion.text")
    editor = serializers.CharField(source="completion.editor")
    comparisons = serializers.ListField(
        child=serializers.IntegerField(), help_text="Of both answers, where the edited one was said to be better."
    )
    at = serializers.DateTimeField(source="completion.created_at")


class Edits(APIView):
    """The latest answers that people edited, with the answers that they were made of."""

    @extend_schema(responses={200: EditedSerializer(many=True)})
    def get(self, request: Request, slug: str) -> Response:
        project = access.project_for_adjudication(request.user, slug)
        rows = edited_answers(project)
        shown(
            user_id=request.user.pk,
            comparison_ids=[key for row in rows for key in row.comparisons],
            where="api-edits",
        )
        return Response(EditedSerializer(rows, many=True).data)


class EditCreate(APIView):
    """Keep an edited text of one of a pair's answers as a new answer; the old one stays.

    The side is left or right of a pair that one has voted on, as one was shown it, or first or second of a pair whose
    labels one may see.
    """

    scope = Scope.ANNOTATE

    class InputSerializer(BodySerializer):
        text = serializers.CharField(trim_whitespace=False, max_length=services.LONGEST_EDIT)
        is_better = serializers.BooleanField(
            required=False,
            default=True,
            help_text="Also make a comparison in which the edited answer is the better one.",
        )
        criterion = serializers.CharField(
            required=False,
            allow_blank=True,
            default="",
            max_length=LONGEST_NAME,
            help_text="By which it is better: of first and second; of left and right that of the vote.",
        )

    class OutputSerializer(serializers.Serializer[Any]):
        answer = serializers.IntegerField(source="answer.pk")
        comparison = serializers.IntegerField(source="comparison.pk", allow_null=True, default=None)

    @extend_schema(
        request=InputSerializer,
        responses={
            201: OutputSerializer,
            200: OpenApiResponse(OutputSerializer, description="The same text was kept before."),
            400: BAD,
        },
    )
    def post(self, request: Request, slug: str, comparison_id: int, side: str) -> Response:
        user = access.person(request.user)
        chosen = access.answer_for_edit(user, slug, comparison_id, side)
        given = self.InputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        values = cast(dict[str, Any], given.validated_data)
        made = services.answer_edit(
            comparison=chosen.comparison,
            answer=chosen.answer,
            text=values["text"],
            is_better=values["is_better"],
            criterion=chosen.criterion or values["criterion"],
            editor=user,
            now=timezone.now(),
        )
        code = status.HTTP_201_CREATED if made.created else status.HTTP_200_OK
        return Response(self.OutputSerializer(made).data, status=code)
