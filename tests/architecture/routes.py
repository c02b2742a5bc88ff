"""What a GET of every route answers: to a stranger, to an annotator of the project, to a member of another project.

Add a line for every route you add (the key is the route as the URL conf spells it, prefix included); a route without
one fails test_routes.py. An answer is a status, a set of statuses, or "login" (a redirect to the sign-in page).
Parameters are filled with the annotator's project and, for objects, with ids that do not exist: object-level gates
are tested in each app's own tests with real rows of another project.
"""

from __future__ import annotations

from typing import Literal

Answer = int | str | frozenset[int]
Row = tuple[Answer, Answer, Answer]  # stranger, annotator of the project, member of another project

PUBLIC: Row = (200, 200, 200)
SIGNED_IN: Row = ("login", 200, 200)
SIGNED_IN_POST: Row = ("login", 405, 405)
MEMBER: Row = ("login", 200, 404)
LEAD: Row = ("login", 404, 404)  # an annotator is told nothing
POST: Row = ("login", 405, 405)  # a page that only takes a POST
OBJECT: Row = ("login", 404, 404)  # there is no such object
API_MEMBER: Row = (401, 200, 404)
API_LEAD: Row = (401, 404, 404)
API_OBJECT: Row = (401, 404, 404)
API_POST: Row = (401, 405, 405)

# The scope that a token needs at each route of the API, by method.
API_SCOPES: dict[str, dict[str, str]] = {
    "api/v1/projects/<slug:slug>/next/": {"post": "annotate"},
    "api/v1/votes/": {"post": "annotate"},
    "api/v1/projects/<slug:slug>/records/": {"post": "manage"},
    "api/v1/projects/<slug:slug>/reports/agreement/": {"get": "read"},
    "api/v1/projects/<slug:slug>/reports/leaderboard/": {"get": "read"},
    "api/v1/projects/<slug:slug>/reports/people/": {"get": "read"},
    "api/v1/projects/<slug:slug>/exclusions/": {"post": "manage"},
    "api/v1/projects/<slug:slug>/exclusions/<int:pk>/": {"delete": "manage"},
    "api/v1/projects/<slug:slug>/agreements/": {"post": "manage", "delete": "manage"},
    "api/v1/projects/<slug:slug>/adjudications/": {"get": "read"},
    "api/v1/projects/<slug:slug>/adjudications/<int:comparison_id>/": {"put": "manage", "delete": "manage"},
    "api/v1/projects/<slug:slug>/comparisons/<int:comparison_id>/history/": {"get": "read"},
    "api/v1/projects/<slug:slug>/judges/": {"get": "read"},
    "api/v1/projects/<slug:slug>/judges/<int:pk>/corrections/": {"get": "read"},
    "api/v1/projects/<slug:slug>/judges/<int:pk>/alignments/": {"get": "read", "post": "manage"},
    "api/v1/projects/<slug:slug>/alignments/<int:pk>/": {"get": "read"},
    "api/v1/projects/<slug:slug>/alignments/<int:pk>/use/": {"post": "manage"},
    "api/v1/projects/<slug:slug>/loops/": {"post": "manage"},
    "api/v1/loops/<int:pk>/": {"get": "read"},
}

ROUTES: dict[str, Row] = {
    # core
    "healthz": PUBLIC,
    "readyz": PUBLIC,
    "favicon.ico": (301, 301, 301),
    "api/schema/": PUBLIC,
    "api/docs/": PUBLIC,
    # accounts
    "login/": (200, 302, 302),
    "login/<str:token>/": (404, 404, 404),
    "account/": SIGNED_IN,
    "account/logout/": (405, 405, 405),
    "account/theme/": SIGNED_IN_POST,
    "account/password/": SIGNED_IN,
    "account/password/set/": ("login", 302, 302),
    "account/tokens/": SIGNED_IN,
    "account/tokens/revoke/": SIGNED_IN_POST,
    ".well-known/change-password": (302, 302, 302),
    "demo/<slug:world>/": SIGNED_IN_POST,
    # projects
    "": SIGNED_IN,
    "projects/new/": ("login", 404, 404),  # for admins, unless the operator lets everyone
    "invitation/<str:token>/": (404, 404, 404),
    "p/<slug:slug>/settings/": MEMBER,
    "p/<slug:slug>/settings/general/": POST,
    "p/<slug:slug>/settings/labels/": POST,
    "p/<slug:slug>/settings/guidelines/": POST,
    "p/<slug:slug>/settings/members/<int:pk>/role/": POST,
    "p/<slug:slug>/settings/members/<int:pk>/remove/": POST,
    "p/<slug:slug>/settings/invitations/": POST,
    "p/<slug:slug>/settings/invitations/<int:pk>/revoke/": POST,
    # rankings
    "p/<slug:slug>/annotate/": MEMBER,
    "p/<slug:slug>/annotate/next/": POST,
    "p/<slug:slug>/annotate/vote/": POST,
    "p/<slug:slug>/annotate/undo/": POST,
    "p/<slug:slug>/annotate/history/": MEMBER,
    "p/<slug:slug>/annotate/<int:comparison_id>/": OBJECT,
    "p/<slug:slug>/review/": MEMBER,
    "p/<slug:slug>/review/undo/": POST,
    "p/<slug:slug>/review/several/": MEMBER,
    "p/<slug:slug>/review/split/": LEAD,
    "p/<slug:slug>/review/split/undo/": POST,
    "p/<slug:slug>/review/split/<int:comparison_id>/": POST,
    "api/v1/projects/<slug:slug>/agreements/": API_POST,
    "api/v1/projects/<slug:slug>/adjudications/": API_LEAD,
    "api/v1/projects/<slug:slug>/adjudications/<int:comparison_id>/": API_POST,
    "api/v1/projects/<slug:slug>/comparisons/<int:comparison_id>/history/": API_OBJECT,
    "p/<slug:slug>/review/<int:comparison_id>/": OBJECT,
    "p/<slug:slug>/review/<int:comparison_id>/decide/": POST,
    "p/<slug:slug>/review/<int:comparison_id>/withdraw/": POST,
    "p/<slug:slug>/comparisons/<int:comparison_id>/": OBJECT,
    # prompts, samples
    "p/<slug:slug>/prompts/": LEAD,
    "p/<slug:slug>/prompts/add/": LEAD,
    "p/<slug:slug>/prompts/<int:pk>/": OBJECT,
    "p/<slug:slug>/samples/": LEAD,
    "p/<slug:slug>/samples/new/": LEAD,
    "p/<slug:slug>/samples/compare/": POST,
    "p/<slug:slug>/samples/runs/": LEAD,
    "p/<slug:slug>/samples/runs/<int:pk>/": OBJECT,
    "p/<slug:slug>/samples/runs/<int:pk>/compare/": POST,
    # judging
    "p/<slug:slug>/judges/": LEAD,
    "p/<slug:slug>/judges/new/": LEAD,
    "p/<slug:slug>/judges/<int:pk>/": OBJECT,
    "p/<slug:slug>/judges/<int:pk>/edit/": OBJECT,
    "p/<slug:slug>/judges/<int:pk>/runs/": OBJECT,
    "p/<slug:slug>/judges/<int:pk>/ask/": POST,
    "p/<slug:slug>/judges/<int:pk>/retry/": POST,
    "p/<slug:slug>/judges/<int:pk>/runs/<int:run>/go-on/": POST,
    "p/<slug:slug>/judges/<int:pk>/attack/": POST,
    "p/<slug:slug>/judges/<int:pk>/align/": OBJECT,
    "p/<slug:slug>/judges/alignments/<int:pk>/": OBJECT,
    "p/<slug:slug>/judges/alignments/<int:pk>/use/": POST,
    "api/v1/projects/<slug:slug>/judges/": API_LEAD,
    "api/v1/projects/<slug:slug>/judges/<int:pk>/corrections/": API_OBJECT,
    "api/v1/projects/<slug:slug>/judges/<int:pk>/alignments/": API_OBJECT,
    "api/v1/projects/<slug:slug>/alignments/<int:pk>/": API_OBJECT,
    "api/v1/projects/<slug:slug>/alignments/<int:pk>/use/": API_POST,
    "p/<slug:slug>/judges/trials/<int:pk>/": OBJECT,
    "p/<slug:slug>/judges/<int:pk>/test/": POST,
    "p/<slug:slug>/judges/<int:pk>/retire/": POST,
    "p/<slug:slug>/judges/<int:pk>/use-for-labels/": POST,
    "p/<slug:slug>/judges/endpoints/<int:pk>/": OBJECT,
    # policies
    "p/<slug:slug>/policies/": LEAD,
    "p/<slug:slug>/policies/uploads/": POST,
    "p/<slug:slug>/policies/uploads/<str:name>/": POST,
    "p/<slug:slug>/policies/uploads/<str:name>/finish/": POST,
    "p/<slug:slug>/policies/uploads/<str:name>/drop/": POST,
    "p/<slug:slug>/policies/import/": LEAD,
    "p/<slug:slug>/policies/endpoints/new/": LEAD,
    "p/<slug:slug>/policies/<int:pk>/": OBJECT,
    "p/<slug:slug>/policies/<int:pk>/default/": POST,
    "p/<slug:slug>/policies/<int:pk>/approve/": POST,
    "p/<slug:slug>/policies/<int:pk>/approval/withdraw/": POST,
    "api/v1/projects/<slug:slug>/next/": API_POST,
    "api/v1/votes/": API_POST,
    # jobs
    "jobs/": SIGNED_IN,
    "p/<slug:slug>/jobs/": MEMBER,
    "p/<slug:slug>/jobs/<int:job_id>/": OBJECT,
    "p/<slug:slug>/jobs/<int:job_id>/cancel/": POST,
    "p/<slug:slug>/jobs/<int:job_id>/retry/": POST,
    # exchange
    "p/<slug:slug>/data/": LEAD,
    "p/<slug:slug>/data/export/": LEAD,
    "p/<slug:slug>/data/hub/": POST,
    "p/<slug:slug>/data/uploads/": POST,
    "p/<slug:slug>/data/uploads/<str:token>/": OBJECT,
    "p/<slug:slug>/data/uploads/<str:token>/import/": POST,
    "p/<slug:slug>/data/uploads/<str:token>/map/": POST,
    "p/<slug:slug>/data/uploads/<str:token>/drop/": POST,
    "api/v1/projects/<slug:slug>/records/": API_POST,
    # reports
    "p/<slug:slug>/reports/": LEAD,
    "p/<slug:slug>/reports/agreement/": LEAD,
    "p/<slug:slug>/reports/agreement/slices/": LEAD,
    "p/<slug:slug>/reports/agreement.json": LEAD,
    "p/<slug:slug>/reports/agreement.csv": LEAD,
    "p/<slug:slug>/reports/agreement.html": LEAD,
    "p/<slug:slug>/reports/leaderboard/": LEAD,
    "p/<slug:slug>/reports/leaderboard/work-out/": POST,
    "p/<slug:slug>/reports/leaderboard.csv": LEAD,
    "p/<slug:slug>/reports/leaderboard.html": LEAD,
    "p/<slug:slug>/reports/leaderboard.json": LEAD,
    "p/<slug:slug>/reports/frontier/": LEAD,
    "p/<slug:slug>/reports/frontier.json": LEAD,
    "p/<slug:slug>/reports/frontier.csv": LEAD,
    "p/<slug:slug>/reports/frontier.html": LEAD,
    "p/<slug:slug>/reports/people/": LEAD,
    "p/<slug:slug>/reports/people/exclude/": LEAD,
    "p/<slug:slug>/reports/people/exclusions/<int:pk>/lift/": POST,
    "api/v1/projects/<slug:slug>/reports/agreement/": API_LEAD,
    "api/v1/projects/<slug:slug>/reports/people/": API_LEAD,
    "api/v1/projects/<slug:slug>/exclusions/": API_POST,
    "api/v1/projects/<slug:slug>/exclusions/<int:pk>/": API_POST,
    "api/v1/projects/<slug:slug>/reports/leaderboard/": API_LEAD,
    # training
    "p/<slug:slug>/loops/": LEAD,
    "p/<slug:slug>/loops/compare/": LEAD,
    "p/<slug:slug>/policies/compare/": LEAD,
    "p/<slug:slug>/policies/meet/": POST,
    "p/<slug:slug>/loops/new/": LEAD,
    "p/<slug:slug>/loops/new/<slug:recipe>/": LEAD,
    "p/<slug:slug>/loops/new/<slug:recipe>/forecast/": LEAD,
    "p/<slug:slug>/loops/new/<slug:recipe>/ingredient/": POST,
    "p/<slug:slug>/loops/<int:pk>/": LEAD,
    "p/<slug:slug>/loops/<int:pk>/curves/": LEAD,
    "p/<slug:slug>/loops/<int:pk>/pause/": POST,
    "p/<slug:slug>/loops/<int:pk>/change/": LEAD,
    "p/<slug:slug>/loops/<int:pk>/rounds/<int:index>/without-overrides/": POST,
    "p/<slug:slug>/loops/<int:pk>/cancel/": POST,
    "p/<slug:slug>/loops/<int:pk>/resume/": POST,
    "p/<slug:slug>/loops/<int:pk>/continue/": POST,
    "p/<slug:slug>/snapshots/<int:pk>/": LEAD,
    "p/<slug:slug>/policies/<int:pk>/card/": OBJECT,
    "p/<slug:slug>/policies/<int:pk>/download/": OBJECT,
    "p/<slug:slug>/policies/<int:pk>/labels/": OBJECT,
    "p/<slug:slug>/policies/<int:pk>/best-of-n/": OBJECT,
    "p/<slug:slug>/comparisons/<int:pk>/used/": OBJECT,
    "api/v1/projects/<slug:slug>/loops/": API_POST,
    "api/v1/loops/<int:pk>/": API_OBJECT,
    # dashboard
    "p/<slug:slug>/": MEMBER,
    "p/<slug:slug>/overview/judge/": LEAD,
    "p/<slug:slug>/find/": LEAD,
}

# Which routes tell what somebody said of comparisons (a verdict, score, vote, override, frozen label, the gold):
# "one": of single comparisons; whoever is answered can't vote blind on them any more (apps/samples/exposure.py).
# "many": figures over many comparisons, which end nothing. All others tell nothing of the kind: their answer is the
# same whatever was said, which test_blindness.py checks for every role.
LABELS: dict[str, Literal["one", "many"]] = {
    "p/<slug:slug>/review/": "one",
    "p/<slug:slug>/review/<int:comparison_id>/": "one",
    "p/<slug:slug>/review/several/": "one",
    "p/<slug:slug>/review/split/": "one",
    "api/v1/projects/<slug:slug>/adjudications/": "one",
    "api/v1/projects/<slug:slug>/comparisons/<int:comparison_id>/history/": "one",
    "p/<slug:slug>/review/<int:comparison_id>/decide/": "one",
    "p/<slug:slug>/review/<int:comparison_id>/withdraw/": "one",
    "p/<slug:slug>/comparisons/<int:comparison_id>/": "one",
    "p/<slug:slug>/comparisons/<int:pk>/used/": "one",
    "p/<slug:slug>/prompts/<int:pk>/": "one",
    "p/<slug:slug>/samples/": "one",
    "p/<slug:slug>/judges/<int:pk>/": "one",
    "p/<slug:slug>/judges/<int:pk>/align/": "one",
    "p/<slug:slug>/judges/alignments/<int:pk>/": "one",
    "api/v1/projects/<slug:slug>/judges/<int:pk>/corrections/": "one",
    "p/<slug:slug>/judges/trials/<int:pk>/": "one",
    "p/<slug:slug>/policies/<int:pk>/labels/": "one",
    "p/<slug:slug>/policies/<int:pk>/best-of-n/": "one",
    "p/<slug:slug>/loops/<int:pk>/": "one",
    "p/<slug:slug>/snapshots/<int:pk>/": "one",
    "p/<slug:slug>/data/": "one",
    "p/<slug:slug>/data/export/": "one",
    "p/<slug:slug>/reports/agreement/": "one",
    "p/<slug:slug>/reports/agreement.html": "one",
    "p/<slug:slug>/reports/agreement/slices/": "many",
    "p/<slug:slug>/reports/agreement.json": "many",
    "p/<slug:slug>/reports/agreement.csv": "many",
    "p/<slug:slug>/reports/people/": "many",
    "p/<slug:slug>/reports/people/exclude/": "many",
    "api/v1/projects/<slug:slug>/reports/people/": "many",
    "p/<slug:slug>/reports/leaderboard/": "many",
    "p/<slug:slug>/reports/leaderboard.csv": "many",
    "p/<slug:slug>/reports/leaderboard.html": "many",
    "p/<slug:slug>/reports/leaderboard.json": "many",
    "api/v1/projects/<slug:slug>/reports/agreement/": "many",
    "api/v1/projects/<slug:slug>/reports/leaderboard/": "many",
    "p/<slug:slug>/judges/": "many",
    "p/<slug:slug>/": "many",
    "p/<slug:slug>/overview/judge/": "many",
}
