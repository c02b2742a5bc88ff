"""Webhooks for programs: make, switch, delete, test, and read the log."""

from __future__ import annotations

from typing import Any, cast

from django.utils import timezone
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.models import User
from apps.core.api import BodySerializer
from apps.events import access, selectors, services
from apps.events.models import Notification
from apps.events.notifications import notification_list, notifications_read, page_of, sentence
from apps.events.types import CHOSEN

LOGGED = 200
BAD = OpenApiResponse(description="One line says why.")


class WebhookSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    url = serializers.CharField()
    kinds = serializers.ListField(child=serializers.ChoiceField(choices=CHOSEN))
    active = serializers.BooleanField()
    n_failures = serializers.IntegerField(help_text="Failed attempts in a row.")
    waits_until = serializers.DateTimeField(allow_null=True)


class DeliverySerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    event = serializers.IntegerField(source="event_id")
    kind = serializers.CharField(source="event.kind")
    state = serializers.ChoiceField(choices=["pending", "sent", "failed"])
    attempts = serializers.IntegerField()
    last_at = serializers.DateTimeField(allow_null=True)
    status = serializers.IntegerField(allow_null=True)
    said = serializers.CharField(allow_blank=True)


class Webhooks(APIView):
    """The webhooks of a project. POST makes one; its secret is in this reply and in no other."""

    class InputSerializer(BodySerializer):
        url = serializers.CharField(max_length=500)
        kinds = serializers.ListField(child=serializers.ChoiceField(choices=CHOSEN), allow_empty=False)

    class CreatedSerializer(WebhookSerializer):
        secret = serializers.CharField(help_text="whsec_…: the key of the signatures.")

    @extend_schema(responses={200: WebhookSerializer(many=True)})
    def get(self, request: Request, slug: str) -> Response:
        rows = selectors.webhook_list(access.project_for_webhooks(request.user, slug))
        return Response(WebhookSerializer(rows, many=True).data)

    @extend_schema(request=InputSerializer, responses={201: CreatedSerializer, 400: BAD})
    def post(self, request: Request, slug: str) -> Response:
        project = access.project_for_webhooks(request.user, slug)
        given = self.InputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        values = cast(dict[str, Any], given.validated_data)
        made, secret = services.webhook_create(project=project, by=cast(User, request.user), **values)
        told = WebhookSerializer(made).data | {"secret": secret}
        return Response(told, status=status.HTTP_201_CREATED)


class WebhookDetail(APIView):
    """One webhook: PATCH turns it on or off, DELETE removes it with its log."""

    class InputSerializer(BodySerializer):
        active = serializers.BooleanField()

    @extend_schema(responses={200: WebhookSerializer})
    def get(self, request: Request, slug: str, pk: int) -> Response:
        return Response(WebhookSerializer(access.webhook_for(request.user, slug, pk)).data)

    @extend_schema(request=InputSerializer, responses={200: WebhookSerializer})
    def patch(self, request: Request, slug: str, pk: int) -> Response:
        found = access.webhook_for(request.user, slug, pk)
        given = self.InputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        values = cast(dict[str, Any], given.validated_data)
        services.webhook_switch(webhook=found, by=cast(User, request.user), **values)
        return Response(WebhookSerializer(found).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, slug: str, pk: int) -> Response:
        services.webhook_delete(webhook=access.webhook_for(request.user, slug, pk), by=cast(User, request.user))
        return Response(status=status.HTTP_204_NO_CONTENT)


class WebhookPing(APIView):
    """Send a test event."""

    @extend_schema(request=None, responses={201: DeliverySerializer})
    def post(self, request: Request, slug: str, pk: int) -> Response:
        made = services.webhook_ping(webhook=access.webhook_for(request.user, slug, pk), now=timezone.now())
        return Response(DeliverySerializer(made).data, status=status.HTTP_201_CREATED)


class Deliveries(APIView):
    """The last deliveries of a webhook, the latest first."""

    @extend_schema(responses={200: DeliverySerializer(many=True)})
    def get(self, request: Request, slug: str, pk: int) -> Response:
        rows = selectors.delivery_list(access.webhook_for(request.user, slug, pk))[:LOGGED]
        return Response(DeliverySerializer(rows, many=True).data)


class DeliveryAgain(APIView):
    """Send a failed delivery again."""

    @extend_schema(request=None, responses={204: None, 409: OpenApiResponse(description="It has not failed.")})
    def post(self, request: Request, slug: str, pk: int, delivery: int) -> Response:
        services.delivery_retry(delivery=access.delivery_for(request.user, slug, pk, delivery))
        return Response(status=status.HTTP_204_NO_CONTENT)


class Notifications(APIView):
    """What the token's person was notified of, the latest first; POST marks all as read."""

    class OutputSerializer(serializers.Serializer[Any]):
        id = serializers.IntegerField()
        kind = serializers.CharField(source="event.kind")
        project = serializers.CharField(source="event.project.slug")
        text = serializers.SerializerMethodField()
        page = serializers.SerializerMethodField()
        at = serializers.DateTimeField(source="event.created_at")
        read_at = serializers.DateTimeField(allow_null=True)

        def get_text(self, row: Notification) -> str:
            return sentence(row.event)

        def get_page(self, row: Notification) -> str:
            return page_of(row.event)

    @extend_schema(responses={200: OutputSerializer(many=True)})
    def get(self, request: Request) -> Response:
        rows = notification_list(cast(User, request.user))[:LOGGED]
        return Response(self.OutputSerializer(rows, many=True).data)

    @extend_schema(request=None, responses={204: None})
    def post(self, request: Request) -> Response:
        notifications_read(user=cast(User, request.user), now=timezone.now())
        return Response(status=status.HTTP_204_NO_CONTENT)
