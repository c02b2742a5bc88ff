"""Endpoints by program: the models on other servers, with their keys, prices and caps. No reply holds a key."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, cast

from django.db import transaction
from django.http import Http404
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.models import User
from apps.core.form_api import body_of, filled, sent
from apps.judging.asking_forms import EndpointForm, SpendingForm
from apps.policies.access import endpoint_for_write
from apps.policies.endpoints import (
    endpoint_create,
    endpoint_probe,
    endpoint_set_spending,
    endpoint_test_stored,
    endpoint_update,
)
from apps.policies.forms import NewEndpointForm
from apps.policies.models import Endpoint
from apps.policies.selectors import endpoint_list
from apps.projects.access import project_for
from apps.projects.models import Role

BAD = OpenApiResponse(description="One line says why nothing was done.")
NewEndpoint, Address, Spending = body_of(NewEndpointForm), body_of(EndpointForm), body_of(SpendingForm)
ADDRESS, SPENDING = ("base_url", "api_key"), tuple(SpendingForm.base_fields)


class EndpointSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    name = serializers.CharField()
    base_url = serializers.CharField()
    model = serializers.CharField()
    has_key = serializers.SerializerMethodField()
    input_price = serializers.DecimalField(max_digits=12, decimal_places=4, help_text="$ a million tokens read.")
    output_price = serializers.DecimalField(max_digits=12, decimal_places=4, help_text="$ a million tokens written.")
    cap_tokens = serializers.IntegerField(allow_null=True)
    cap_cost = serializers.DecimalField(max_digits=12, decimal_places=4, allow_null=True)
    at_once = serializers.IntegerField(help_text="Calls that one job has in flight.")

    def get_has_key(self, row: Endpoint) -> bool:
        return bool(row.encrypted_key)


class Endpoints(APIView):
    """The endpoints of a project. POST adds one: it can answer prompts and act as a judge."""

    @extend_schema(responses={200: EndpointSerializer(many=True)})
    def get(self, request: Request, slug: str) -> Response:
        project = project_for(request.user, slug, Role.LEAD)
        return Response(EndpointSerializer(endpoint_list(project), many=True).data)

    @sensitive_variables()
    @extend_schema(request=NewEndpoint, responses={201: EndpointSerializer, 400: BAD})
    def post(self, request: Request, slug: str) -> Response:
        project = project_for(request.user, slug, Role.ENGINEER)
        form = filled(NewEndpointForm(), sent(NewEndpoint(data=request.data)))
        made = endpoint_create(project=project, by=cast(User, request.user), **form.cleaned_data)
        return Response(EndpointSerializer(made).data, status=status.HTTP_201_CREATED)


class EndpointDetail(APIView):
    """One endpoint. PATCH changes its address, key, prices and caps; another address deletes the stored key."""

    class InputSerializer(Address, Spending):  # type: ignore[misc, valid-type]
        pass

    @extend_schema(responses={200: EndpointSerializer})
    def get(self, request: Request, slug: str, pk: int) -> Response:
        return Response(EndpointSerializer(_endpoint(request, slug, pk)).data)

    @sensitive_variables()
    @extend_schema(request=InputSerializer, responses={200: EndpointSerializer, 400: BAD})
    def patch(self, request: Request, slug: str, pk: int) -> Response:
        found, by = _endpoint(request, slug, pk), cast(User, request.user)
        given = sent(self.InputSerializer(data=request.data))
        kept = {name: getattr(found, name) for name in SPENDING}
        address = filled(EndpointForm(initial={"base_url": found.base_url}), _only(given, ADDRESS)).cleaned_data
        spending = filled(SpendingForm(initial=kept), _only(given, SPENDING)).cleaned_data
        with transaction.atomic():
            if given.keys() & set(ADDRESS):
                key = address["api_key"] or None
                url = address["base_url"]
                endpoint_update(endpoint=found, base_url=url, model=found.model, api_key=key, by=by)
            if given.keys() & set(SPENDING):
                prices = {name: spending[name] or Decimal(0) for name in ("input_price", "output_price")}
                endpoint_set_spending(endpoint=found, by=by, **(spending | prices))
        found.refresh_from_db()
        return Response(EndpointSerializer(found).data)


class EndpointTest(APIView):
    """Ask an endpoint, with its stored key at its stored URL, which models it serves."""

    class OutputSerializer(serializers.Serializer[Any]):
        said = serializers.CharField()

    @extend_schema(request=None, responses={200: OutputSerializer, 400: BAD})
    def post(self, request: Request, slug: str, pk: int) -> Response:
        found = _endpoint(request, slug, pk)
        said = endpoint_test_stored(endpoint=found, base_url=found.base_url, model=found.model)
        return Response(self.OutputSerializer({"said": said}).data)


class EndpointProbe(APIView):
    """Test what an endpoint can do, with at most five calls of a few tokens."""

    class OutputSerializer(serializers.Serializer[Any]):
        name = serializers.ChoiceField(choices=("models", "logprobs", "json_schema", "seeds"))
        ok = serializers.BooleanField(allow_null=True, help_text="Null: it could not be determined.")
        text = serializers.CharField(allow_blank=True)

    @extend_schema(request=None, responses={200: OutputSerializer(many=True), 400: BAD})
    def post(self, request: Request, slug: str, pk: int) -> Response:
        found = endpoint_probe(endpoint=_endpoint(request, slug, pk), now=timezone.now(), by=cast(User, request.user))
        return Response(self.OutputSerializer(found, many=True).data)


def _endpoint(request: Request, slug: str, pk: int) -> Endpoint:
    found = endpoint_for_write(request.user, slug, pk)
    if found.is_simulated:
        raise Http404("the worker starts simulated judges itself")
    return found


def _only(given: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name in names}
