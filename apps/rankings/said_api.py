"""What programs send with an answer of any kind: a vote, a ranking or a rating."""

from __future__ import annotations

from rest_framework import serializers

from apps.core.api import BodySerializer
from apps.rankings.services import MAX_KEY, MAX_REASON, SIDES
from prefloop.marks import KINDS
from prefloop.reasons import LONGEST


class SaidSerializer(BodySerializer):
    reason = serializers.CharField(required=False, allow_blank=True, default="", max_length=MAX_REASON)
    seconds = serializers.FloatField(required=False, allow_null=True, default=None, min_value=0, max_value=86400)
    guideline = serializers.CharField(
        required=False,
        allow_blank=True,
        allow_null=True,
        default=None,
        max_length=40,
        help_text="The version that the person saw; if left out, the one that came with what was leased.",
    )
    next = serializers.BooleanField(
        required=False, default=False, help_text="Lease the next one too, and return it with the answer."
    )


class MarkSerializer(BodySerializer):
    side = serializers.ChoiceField(choices=SIDES)
    start = serializers.IntegerField(min_value=0, help_text="Of the answer's text, in Unicode code points, from 0.")
    end = serializers.IntegerField(min_value=1, help_text="The character after the last one that is marked.")
    kind = serializers.ChoiceField(choices=KINDS)
    reason = serializers.CharField(
        required=False, allow_blank=True, default="", max_length=LONGEST, help_text="One of the short reasons, or none."
    )


class KeyedSerializer(SaidSerializer):
    key = serializers.CharField(
        required=False,
        allow_blank=True,
        default="",
        max_length=MAX_KEY,
        help_text="Made by the client, one for each answer: the same is stored once, even after it was undone.",
    )
