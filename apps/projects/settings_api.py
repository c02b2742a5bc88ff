"""Projects by program: making one, its name and texts, its label policy, and its guidelines."""

from __future__ import annotations

from typing import Any, cast

from django.http import Http404
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.models import User
from apps.core.form_api import body_of, filled, sent
from apps.projects import access, selectors, services
from apps.projects.forms import GuidelineForm, LabelPolicyForm, ProjectForm
from apps.projects.models import Role

BAD = OpenApiResponse(description="One line says why nothing changed.")
ProjectBody, LabelPolicyBody, GuidelineBody = (body_of(form) for form in (ProjectForm, LabelPolicyForm, GuidelineForm))


class ProjectSerializer(serializers.Serializer[Any]):
    slug = serializers.CharField()
    name = serializers.CharField()
    criterion = serializers.CharField(allow_blank=True)
    description = serializers.CharField(allow_blank=True)
    created_at = serializers.DateTimeField()


class CriterionSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    question = serializers.CharField()


class GuidelineSerializer(serializers.Serializer[Any]):
    version = serializers.IntegerField()
    text = serializers.CharField()
    asks_strength = serializers.BooleanField()
    task = serializers.CharField()
    set_size = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    reasons = serializers.ListField(
        child=serializers.CharField(), help_text="Short ones that people can choose with an answer to a pair."
    )
    asks_marks = serializers.BooleanField(help_text="Whether people may mark passages of the answers of a pair.")
    rubric = serializers.CharField(
        source="rubric_text", allow_blank=True, help_text="One item a line, as the form has it."
    )
    criteria = CriterionSerializer(many=True, source="asked", help_text="Each pair is asked by each of these in turn.")


class Projects(APIView):
    """The projects that one belongs to. POST makes one, where the operator allows it; one owns what one makes."""

    @extend_schema(responses={200: ProjectSerializer(many=True)})
    def get(self, request: Request) -> Response:
        rows = access.projects_for(request.user).order_by("slug")
        return Response(ProjectSerializer(rows, many=True).data)

    @extend_schema(request=ProjectBody, responses={201: ProjectSerializer, 400: BAD})
    def post(self, request: Request) -> Response:
        if not access.may_create_project(request.user):
            raise Http404
        form = filled(ProjectForm(), sent(ProjectBody(data=request.data)))
        made = services.project_create(owner=cast(User, request.user), **form.cleaned_data)
        return Response(ProjectSerializer(made).data, status=status.HTTP_201_CREATED)


class ProjectDetail(APIView):
    """A project's name and texts, which owners change; its address stays."""

    @extend_schema(responses={200: ProjectSerializer})
    def get(self, request: Request, slug: str) -> Response:
        return Response(ProjectSerializer(access.project_for(request.user, slug)).data)

    @extend_schema(request=ProjectBody, responses={200: ProjectSerializer, 400: BAD})
    def patch(self, request: Request, slug: str) -> Response:
        project = access.project_for(request.user, slug, Role.OWNER)
        form = filled(ProjectForm(initial=ProjectForm.initial_of(project)), sent(ProjectBody(data=request.data)))
        services.project_update(project=project, actor=cast(User, request.user), **form.cleaned_data)
        return Response(ProjectSerializer(project).data)


class LabelPolicy(APIView):
    """How many people compare each pair, who may override, what comes at random, and the label judge's bound in %."""

    @extend_schema(responses={200: LabelPolicyBody})
    def get(self, request: Request, slug: str) -> Response:
        project = access.project_for(request.user, slug)
        return Response(LabelPolicyBody(LabelPolicyForm.initial_of(project)).data)

    @extend_schema(request=LabelPolicyBody, responses={200: LabelPolicyBody, 400: BAD})
    def patch(self, request: Request, slug: str) -> Response:
        project = access.project_for(request.user, slug, Role.OWNER)
        form = LabelPolicyForm(initial=LabelPolicyForm.initial_of(project))
        said = filled(form, sent(LabelPolicyBody(data=request.data))).cleaned_data
        services.label_policy_set(project=project, actor=cast(User, request.user), **said)
        return Response(LabelPolicyBody(LabelPolicyForm.initial_of(project)).data)


class Guidelines(APIView):
    """The versions of the guidelines, the latest first. POST makes the next one; what it leaves out stays as it was."""

    @extend_schema(responses={200: GuidelineSerializer(many=True)})
    def get(self, request: Request, slug: str) -> Response:
        rows = access.project_for(request.user, slug).guidelines.order_by("-version")
        return Response(GuidelineSerializer(rows, many=True).data)

    @extend_schema(
        request=GuidelineBody,
        responses={
            201: GuidelineSerializer,
            200: OpenApiResponse(GuidelineSerializer, description="The current version says that already."),
            400: BAD,
        },
    )
    def post(self, request: Request, slug: str) -> Response:
        project = access.project_for(request.user, slug, Role.LEAD)
        current = selectors.guideline_current(project)
        form = GuidelineForm(initial=GuidelineForm.initial_of(current))
        said = filled(form, sent(GuidelineBody(data=request.data))).cleaned_data
        made = services.guideline_add(project=project, actor=cast(User, request.user), **said)
        is_new = current is None or made.pk != current.pk
        code = status.HTTP_201_CREATED if is_new else status.HTTP_200_OK
        return Response(GuidelineSerializer(made).data, status=code)
