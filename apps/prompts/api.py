"""Prompts for programs: read them, and add some."""

from __future__ import annotations

from typing import Any, cast

from django.core.paginator import Paginator
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.core.api import BodySerializer
from apps.projects.access import project_for
from apps.projects.models import Role
from apps.prompts import selectors, services

PAGE = 500
SPLITS = ("train", "eval")


class PromptSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    external_id = serializers.CharField()
    set = serializers.CharField(source="prompt_set.name")
    split = serializers.ChoiceField(choices=SPLITS)
    text = serializers.CharField()
    metadata = serializers.DictField()


class Prompts(APIView):
    """The prompts of a project, 500 a page. POST adds some to a set, all or none; a new name makes a new set."""

    class QuerySerializer(serializers.Serializer[Any]):
        set = serializers.CharField(required=False, default="", allow_blank=True)
        split = serializers.ChoiceField(choices=SPLITS, required=False, default="")
        page = serializers.IntegerField(required=False, default=1, min_value=1)

    class InputSerializer(BodySerializer):
        set = serializers.CharField(max_length=120)
        split = serializers.ChoiceField(choices=SPLITS, required=False, default="train")
        prompts = serializers.ListField(
            child=serializers.CharField(max_length=services.MAX_PROMPT_CHARS),
            allow_empty=False,
            max_length=services.MAX_LINES,
        )

    class PageSerializer(serializers.Serializer[Any]):
        n = serializers.IntegerField(help_text="Prompts on all pages.")
        n_pages = serializers.IntegerField()
        prompts = PromptSerializer(many=True)

    class AddedSerializer(serializers.Serializer[Any]):
        set = serializers.CharField(source="prompt_set.name")
        n_added = serializers.IntegerField()
        n_there = serializers.IntegerField(help_text="Those that the set had already.")

    @extend_schema(
        parameters=[
            OpenApiParameter("set", str, description="Only of this set."),
            OpenApiParameter("split", str, enum=SPLITS),
            OpenApiParameter("page", int),
        ],
        responses={200: PageSerializer},
    )
    def get(self, request: Request, slug: str) -> Response:
        project = project_for(request.user, slug, Role.LEAD)
        given = self.QuerySerializer(data=request.query_params)
        given.is_valid(raise_exception=True)
        values = cast(dict[str, Any], given.validated_data)
        found = Paginator(selectors.prompt_list(project, set_name=values["set"], split=values["split"]), PAGE)
        rows = found.page(values["page"]) if values["page"] <= found.num_pages else ()
        told = {"n": found.count, "n_pages": found.num_pages, "prompts": rows}
        return Response(self.PageSerializer(told).data)

    @extend_schema(
        request=InputSerializer,
        responses={201: AddedSerializer, 400: OpenApiResponse(description="One line says why; nothing was added.")},
    )
    def post(self, request: Request, slug: str) -> Response:
        project = project_for(request.user, slug, Role.ENGINEER)
        given = self.InputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        values = cast(dict[str, Any], given.validated_data)
        made = services.prompts_new(
            project=project, set_name=values["set"], split=values["split"], texts=values["prompts"]
        )
        return Response(self.AddedSerializer(made).data, status=status.HTTP_201_CREATED)
