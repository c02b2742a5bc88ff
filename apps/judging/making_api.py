"""Making judges by program, their next versions, trying them, and retiring them: what the Judges pages do."""

from __future__ import annotations

from typing import Any, cast

from django.db import transaction
from django.http import Http404
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables
from drf_spectacular.utils import OpenApiResponse, PolymorphicProxySerializer, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.models import User
from apps.core.form_api import body_of, filled, sent
from apps.jobs.api import JobStartedSerializer
from apps.jobs.models import Job
from apps.judging.access import judge_for_read, judge_for_write
from apps.judging.asking_forms import AttackForm
from apps.judging.forms import JudgeForm
from apps.judging.kind_forms import FORMS, offered
from apps.judging.services import BadJudge, judge_retire
from apps.judging.trials import attack_start, trial_pairs, trial_start
from apps.labels.models import Judge
from apps.labels.selectors import label_judge_name
from apps.labels.services import label_judge_set
from apps.policies.endpoints import endpoint_test_stored
from apps.projects.access import project_for
from apps.projects.models import Project, Role
from apps.samples import exposure

BAD = OpenApiResponse(description="One line says why nothing was done.")
KIND = serializers.ChoiceField(choices=tuple(FORMS))
BODIES: dict[str, Any] = {kind: body_of(form, needs=["name"], kind=KIND) for kind, form in FORMS.items()}
NEXT: dict[str, Any] = {
    kind: body_of(
        form, name=f"Next{form.__name__.removesuffix('Form')}Input", needs=(), leave_out=["name", "criterion_name"]
    )
    for kind, form in FORMS.items()
}
NEW_JUDGE = PolymorphicProxySerializer("JudgeInput", BODIES, "kind")
NEXT_VERSION = PolymorphicProxySerializer("JudgeNextInput", list(NEXT.values()), None)
AttackBody = body_of(AttackForm)


class JudgeSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    name = serializers.CharField()
    version = serializers.IntegerField()
    kind = serializers.CharField()
    mode = serializers.CharField()
    criterion = serializers.CharField(allow_blank=True)
    criterion_name = serializers.CharField(allow_blank=True, help_text="The named one that it judges by.")
    retired_at = serializers.DateTimeField(allow_null=True)


class JudgeDetailSerializer(JudgeSerializer):
    gives_labels = serializers.SerializerMethodField(help_text="Where no person has voted, in any of its versions.")
    settings = serializers.SerializerMethodField(help_text="What a next version keeps unless it says otherwise.")

    def get_gives_labels(self, row: Judge) -> bool:
        return label_judge_name(row.project, row.criterion_name) == row.name

    def get_settings(self, row: Judge) -> dict[str, Any]:
        if row.kind not in FORMS:
            return {}
        form = FORMS[row.kind]
        asked = form.base_fields
        return {name: value for name, value in form.initial_of(row).items() if name in asked}


class Judges(APIView):
    """The judges of a project, every version of each. POST makes one; what it takes depends on the kind."""

    @extend_schema(responses={200: JudgeSerializer(many=True)})
    def get(self, request: Request, slug: str) -> Response:
        project = project_for(request.user, slug, Role.LEAD)
        rows = Judge.objects.filter(project=project).order_by("name", "version")
        return Response(JudgeSerializer(rows, many=True).data)

    @sensitive_variables()
    @extend_schema(request=NEW_JUDGE, responses={201: JudgeDetailSerializer, 400: BAD})
    def post(self, request: Request, slug: str) -> Response:
        form, given = _new(request, project_for(request.user, slug, Role.ENGINEER))
        return _made(filled(form, given), cast(User, request.user))


class JudgeDetail(APIView):
    """One version of a judge, with its settings."""

    @extend_schema(responses={200: JudgeDetailSerializer})
    def get(self, request: Request, slug: str, pk: int) -> Response:
        return Response(JudgeDetailSerializer(judge_for_read(request.user, slug, pk)).data)


class JudgeVersions(APIView):
    """Make the next version of a judge: it keeps the settings that are left out. A version itself never changes."""

    @sensitive_variables()
    @extend_schema(request=NEXT_VERSION, responses={201: JudgeDetailSerializer, 400: BAD})
    def post(self, request: Request, slug: str, pk: int) -> Response:
        form, given = _next(request, judge_for_write(request.user, slug, pk))
        return _made(filled(form, given), cast(User, request.user))


class JudgeTrials(APIView):
    """Try a draft of a judge on at most five pairs. Nothing of it is stored but the job's result."""

    @extend_schema(request=NEW_JUDGE, responses={202: JobStartedSerializer, 400: BAD})
    def post(self, request: Request, slug: str) -> Response:
        return _tried(request, *_new(request, project_for(request.user, slug, Role.ENGINEER)))


class VersionTrials(APIView):
    """Try a draft of a judge's next version, as `judges/trials/` does."""

    @extend_schema(
        operation_id="v1_projects_judges_versions_trials_create",
        request=NEXT_VERSION,
        responses={202: JobStartedSerializer, 400: BAD},
    )
    def post(self, request: Request, slug: str, pk: int) -> Response:
        return _tried(request, *_next(request, judge_for_write(request.user, slug, pk)))


class TrialDetail(APIView):
    """What a draft said in its trial."""

    class OutputSerializer(serializers.Serializer[Any]):
        state = serializers.CharField()
        error = serializers.CharField(allow_blank=True)
        labels = serializers.SerializerMethodField(help_text="By comparison: outcome, state, p_first.")
        calls = serializers.SerializerMethodField()

        def get_labels(self, row: Job) -> dict[str, Any]:
            return cast(dict[str, Any], row.result.get("labels", {}))

        def get_calls(self, row: Job) -> list[dict[str, Any]]:
            return cast(list[dict[str, Any]], row.result.get("calls", []))

    @extend_schema(responses={200: OutputSerializer})
    def get(self, request: Request, slug: str, pk: int) -> Response:
        project = project_for(request.user, slug, Role.ENGINEER)
        job = Job.objects.filter(pk=pk, project=project, kind="judging.trial").first()
        if job is None:
            raise Http404
        shown = {call["comparison"] for call in job.result.get("calls", [])}
        shown |= set(map(int, job.result.get("labels", {})))  # rules and reward models label without a call
        exposure.shown(user_id=request.user.pk, comparison_ids=shown, where="api-trial")
        return Response(self.OutputSerializer(job).data)


class JudgeAttack(APIView):
    """Put the attack corpus into answers that this judge found worse."""

    @extend_schema(request=AttackBody, responses={202: JobStartedSerializer, 400: BAD})
    def post(self, request: Request, slug: str, pk: int) -> Response:
        judge = judge_for_write(request.user, slug, pk)
        form = filled(AttackForm(), sent(AttackBody(data=request.data)))
        group = attack_start(judge=judge, n=form.cleaned_data["n"], started_by=cast(User, request.user))
        return _started(group.jobs.get())


class JudgeTest(APIView):
    """Ask a judge's endpoint, with its stored key at its stored URL, for its models."""

    class OutputSerializer(serializers.Serializer[Any]):
        said = serializers.CharField()

    @extend_schema(request=None, responses={200: OutputSerializer, 400: BAD})
    def post(self, request: Request, slug: str, pk: int) -> Response:
        endpoint = judge_for_write(request.user, slug, pk).endpoint
        if endpoint is None:
            raise BadJudge("this judge has no endpoint")
        said = endpoint_test_stored(endpoint=endpoint, base_url=endpoint.base_url, model=endpoint.model)
        return Response(self.OutputSerializer({"said": said}).data)


class JudgeRetire(APIView):
    """Retire a judge, so that it can't be chosen any more; its verdicts stay."""

    @extend_schema(request=None, responses={200: JudgeSerializer})
    def post(self, request: Request, slug: str, pk: int) -> Response:
        judge = judge_for_write(request.user, slug, pk)
        judge_retire(judge=judge, now=timezone.now())
        judge.refresh_from_db()
        return Response(JudgeSerializer(judge).data)


class JudgeForLabels(APIView):
    """Let this judge give the label where no person has voted."""

    @extend_schema(request=None, responses={200: JudgeDetailSerializer})
    def post(self, request: Request, slug: str, pk: int) -> Response:
        judge = judge_for_read(request.user, slug, pk)  # for leads and above, as the button on its page
        label_judge_set(judge=judge, by=cast(User, request.user))
        return Response(JudgeDetailSerializer(judge).data)


class _KindSerializer(serializers.Serializer[Any]):
    kind = KIND


def _new(request: Request, project: Project) -> tuple[JudgeForm, dict[str, Any]]:
    asked = _KindSerializer(data=request.data)
    asked.is_valid(raise_exception=True)
    kind = cast(dict[str, str], asked.validated_data)["kind"]
    if FORMS[kind].kind not in offered(project):
        raise BadJudge(f"this project has no judges of the kind {kind!r}")
    form = FORMS[kind](project=project, initial=FORMS[kind].initial_for(project))
    return form, sent(BODIES[kind](data=request.data))


def _next(request: Request, judge: Judge) -> tuple[JudgeForm, dict[str, Any]]:
    if judge.kind not in FORMS:
        raise Http404("imported verdicts have no settings, and a judging policy has those of its loop")
    form = FORMS[judge.kind](project=judge.project, judge=judge, initial=FORMS[judge.kind].initial_of(judge))
    return form, sent(NEXT[judge.kind](data=request.data))


def _made(form: JudgeForm, by: User) -> Response:
    with transaction.atomic():
        form.by = by
        made = form.save()
    return Response(JudgeDetailSerializer(made).data, status=status.HTTP_201_CREATED)


def _tried(request: Request, form: JudgeForm, given: dict[str, Any]) -> Response:
    if "name" in form.fields:
        form.fields["name"].required = False  # a draft needs none
    draft = filled(form, given).draft()
    job = trial_start(draft=draft, comparison_ids=trial_pairs(form.project), started_by=cast(User, request.user))
    return _started(job)


def _started(job: Job) -> Response:
    return Response(JobStartedSerializer({"job": job.pk}).data, status=status.HTTP_202_ACCEPTED)
