"""Quotas for programs."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.models import User
from apps.core.form_api import body_of, filled, sent
from apps.core.paging import PagesAhead
from apps.projects.models import Project
from apps.quotas import access, selectors
from apps.quotas.forms import PersonQuotasForm, ProjectQuotasForm
from apps.quotas.services import quotas_set

A_PAGE = 50
BAD = OpenApiResponse(description="One line says why nothing changed.")
_PAGE = [OpenApiParameter("page", int, description="50 at a time, from 1.")]


class QuotaSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    unit = serializers.CharField(help_text="Of both amounts; empty for what is counted.")
    used = serializers.DecimalField(max_digits=30, decimal_places=9)
    limit = serializers.DecimalField(max_digits=30, decimal_places=9, allow_null=True, help_text="null: there is none.")
    is_default = serializers.BooleanField(help_text="Nobody set the limit for this one.")


class ProjectQuotasSerializer(serializers.Serializer[Any]):
    project = serializers.CharField()
    quotas = QuotaSerializer(many=True)


class PersonQuotasSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    person = serializers.CharField()
    quotas = QuotaSerializer(many=True)


def _told(lines: list[selectors.Line]) -> list[dict[str, Any]]:
    return [
        {
            "name": line.name,
            "unit": line.kind.unit,
            "used": line.used_in_units,
            "limit": line.limit_in_units,
            "is_default": line.is_default,
        }
        for line in lines
    ]


def _of_project(project: Project, lines: list[selectors.Line]) -> dict[str, Any]:
    return {"project": project.slug, "quotas": _told(lines)}


def _of_person(person: User, lines: list[selectors.Line]) -> dict[str, Any]:
    return {"id": person.pk, "person": person.username, "quotas": _told(lines)}


def _set(request: Request, owner: Project | User, form: type[forms.Form], body: Any) -> None:
    given = sent(body(data=request.data))
    asked = filled(form(initial=selectors.limits_set(owner)), given)
    quotas_set(owner=owner, limits=asked.cleaned_data, by=cast(User, request.user))


class ProjectQuotas(APIView):
    """The quotas of a project: what is used of each, and the limit."""

    @extend_schema(responses={200: ProjectQuotasSerializer})
    def get(self, request: Request, slug: str) -> Response:
        project = access.project_for_quotas(request.user, slug)
        return Response(ProjectQuotasSerializer(_of_project(project, selectors.lines_of_project(project))).data)


class AllProjectQuotas(APIView):
    """The quotas of all projects, for operators."""

    @extend_schema(parameters=_PAGE, responses={200: ProjectQuotasSerializer(many=True)})
    def get(self, request: Request) -> Response:
        access.operators_only(request.user)
        page = PagesAhead(selectors.projects_to_list(), A_PAGE).get_page(request.query_params.get("page"))
        rows = [_of_project(*row) for row in selectors.lines_of_projects(list(page))]
        return Response(ProjectQuotasSerializer(rows, many=True).data)


class AllPersonQuotas(APIView):
    """The quotas of all people, each in all projects together, for operators."""

    @extend_schema(parameters=_PAGE, responses={200: PersonQuotasSerializer(many=True)})
    def get(self, request: Request) -> Response:
        access.operators_only(request.user)
        page = PagesAhead(selectors.people_to_list(), A_PAGE).get_page(request.query_params.get("page"))
        rows = [_of_person(*row) for row in selectors.lines_of_people(list(page))]
        return Response(PersonQuotasSerializer(rows, many=True).data)


class SetProjectQuotas(APIView):
    """The quotas of any project, for operators. PATCH sets limits; null: as by default. What has begun goes on."""

    InputSerializer = body_of(ProjectQuotasForm, name="ProjectQuotasInput")

    @extend_schema(responses={200: ProjectQuotasSerializer})
    def get(self, request: Request, slug: str) -> Response:
        project = access.project_to_limit(request.user, slug)
        return Response(ProjectQuotasSerializer(_of_project(project, selectors.lines_of_project(project))).data)

    @extend_schema(request=InputSerializer, responses={200: ProjectQuotasSerializer, 400: BAD})
    def patch(self, request: Request, slug: str) -> Response:
        _set(request, access.project_to_limit(request.user, slug), ProjectQuotasForm, self.InputSerializer)
        return self.get(request, slug)


class SetPersonQuotas(APIView):
    """The quotas of a person in all projects, for operators. PATCH sets limits; null: as by default."""

    InputSerializer = body_of(PersonQuotasForm, name="PersonQuotasInput")

    @extend_schema(responses={200: PersonQuotasSerializer})
    def get(self, request: Request, pk: int) -> Response:
        found = access.person_to_limit(request.user, pk)
        return Response(PersonQuotasSerializer(_of_person(found, selectors.lines_of_person(found))).data)

    @extend_schema(request=InputSerializer, responses={200: PersonQuotasSerializer, 400: BAD})
    def patch(self, request: Request, pk: int) -> Response:
        _set(request, access.person_to_limit(request.user, pk), PersonQuotasForm, self.InputSerializer)
        return self.get(request, pk)
