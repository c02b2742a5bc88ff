"""What a program sends for what people do on pages: every page that takes a POST, and the API's routes for it.

Add a line for every page that changes something; one without a line fails test_rest.py. A line names the API's methods
and routes below `api/v1/` (P: those of a project), which let in whom the page lets in, or the reason why programs
can't do it.
"""

from __future__ import annotations

P = "projects/<slug:slug>/"
_JUDGE = f"{P}judges/<int:pk>/"
_LOOP = "loops/<int:pk>/"

PERSON = "A person signs in and out with a password or a link; programs have tokens."
SETTLED_BY_A_PERSON = "What a person chooses for their own account and pages. A token is not to change it."
SHOWN_AGAIN = "Whoever deletes an account shows once more who they are, by a password or second factor."
OWN_TOKENS = "A token that could make or revoke tokens would outlive its own end."

REST: dict[str, tuple[str, ...] | str] = {
    # accounts
    "login/": PERSON,
    "login/<str:token>/": PERSON,
    "account/logout/": PERSON,
    "account/password/": PERSON,
    "account/password/set/": PERSON,
    "login/second-factor/": PERSON,
    "login/passkey/": PERSON,
    "account/confirm/": PERSON,
    "account/confirm/code/": PERSON,
    "account/confirm/passkey/": PERSON,
    "account/second-factor/app/": PERSON,
    "account/second-factor/app/remove/": PERSON,
    "account/second-factor/passkeys/": PERSON,
    "account/second-factor/passkeys/<int:pk>/": PERSON,
    "account/second-factor/passkeys/<int:pk>/remove/": PERSON,
    "account/second-factor/codes/new/": PERSON,
    "account/": SETTLED_BY_A_PERSON,
    "account/theme/": SETTLED_BY_A_PERSON,
    "account/language/": SETTLED_BY_A_PERSON,
    "account/sessions/end/": SETTLED_BY_A_PERSON,
    "account/tokens/": OWN_TOKENS,
    "account/tokens/revoke/": OWN_TOKENS,
    "invitation/<str:token>/": "Whoever accepts an invitation has no account yet, or decides about their own.",
    # projects
    "projects/new/": ("POST projects/",),
    "demo/<slug:world>/": ("POST demos/<slug:world>/",),
    "p/<slug:slug>/settings/general/": ("PATCH projects/<slug:slug>/",),
    "p/<slug:slug>/settings/labels/": (f"PATCH {P}label-policy/",),
    "p/<slug:slug>/settings/guidelines/": (f"POST {P}guidelines/",),
    "p/<slug:slug>/settings/members/<int:pk>/role/": (f"PATCH {P}members/<int:pk>/",),
    "p/<slug:slug>/settings/members/<int:pk>/remove/": (f"DELETE {P}members/<int:pk>/",),
    "p/<slug:slug>/groups/": (f"POST {P}groups/",),
    "p/<slug:slug>/groups/<int:pk>/": (f"PATCH {P}groups/<int:pk>/",),
    "p/<slug:slug>/groups/<int:pk>/delete/": (f"DELETE {P}groups/<int:pk>/",),
    "p/<slug:slug>/settings/invitations/": (f"POST {P}invitations/",),
    "p/<slug:slug>/settings/invitations/<int:pk>/revoke/": (f"DELETE {P}invitations/<int:pk>/",),
    # removal
    "account/delete/": SHOWN_AGAIN,
    "people/<int:pk>/delete/": SHOWN_AGAIN,
    "p/<slug:slug>/settings/deletion/": (f"POST {P}deletions/",),
    "p/<slug:slug>/settings/retention/": (f"PATCH {P}retention/",),
    # quotas
    "quotas/projects/<slug:slug>/": ("PATCH quotas/projects/<slug:slug>/",),
    "quotas/people/<int:pk>/": ("PATCH quotas/people/<int:pk>/",),
    # events
    "notifications/": ("POST notifications/",),
    "p/<slug:slug>/settings/webhooks/": (f"POST {P}webhooks/",),
    "p/<slug:slug>/settings/webhooks/<int:pk>/switch/": (f"PATCH {P}webhooks/<int:pk>/",),
    "p/<slug:slug>/settings/webhooks/<int:pk>/delete/": (f"DELETE {P}webhooks/<int:pk>/",),
    "p/<slug:slug>/settings/webhooks/<int:pk>/ping/": (f"POST {P}webhooks/<int:pk>/ping/",),
    "p/<slug:slug>/settings/webhooks/<int:pk>/log/<int:delivery>/again/": (
        f"POST {P}webhooks/<int:pk>/deliveries/<int:delivery>/again/",
    ),
    # jobs
    "p/<slug:slug>/jobs/<int:job_id>/cancel/": (f"POST {P}jobs/<int:job_id>/cancel/",),
    "p/<slug:slug>/jobs/<int:job_id>/retry/": (f"POST {P}jobs/<int:job_id>/retry/",),
    # prompts and answers
    "p/<slug:slug>/prompts/add/": (f"POST {P}prompts/",),
    "p/<slug:slug>/samples/new/": (f"POST {P}samples/runs/",),
    "p/<slug:slug>/samples/runs/<int:pk>/compare/": (f"POST {P}samples/runs/<int:pk>/comparisons/",),
    "p/<slug:slug>/samples/compare/": (f"POST {P}samples/comparisons/",),
    # policies
    "p/<slug:slug>/policies/import/": (f"POST {P}policies/", f"POST {P}policies/look/"),
    "p/<slug:slug>/policies/uploads/": (f"POST {P}model-uploads/",),
    "p/<slug:slug>/policies/uploads/<str:name>/": (f"PUT {P}model-uploads/<str:name>/",),
    "p/<slug:slug>/policies/uploads/<str:name>/finish/": (f"POST {P}model-uploads/<str:name>/finish/",),
    "p/<slug:slug>/policies/uploads/<str:name>/drop/": (f"DELETE {P}model-uploads/<str:name>/",),
    "p/<slug:slug>/policies/average/": (f"POST {P}policies/average/",),
    "p/<slug:slug>/policies/endpoints/new/": (f"POST {P}endpoints/",),
    "p/<slug:slug>/policies/<int:pk>/default/": (f"POST {P}policies/<int:pk>/default/",),
    "p/<slug:slug>/policies/<int:pk>/approve/": (f"PUT {P}policies/<int:pk>/approval/",),
    "p/<slug:slug>/policies/<int:pk>/approval/withdraw/": (f"DELETE {P}policies/<int:pk>/approval/",),
    "p/<slug:slug>/policies/meet/": (f"POST {P}meetings/",),
    # judges
    "p/<slug:slug>/judges/new/": (f"POST {P}judges/", f"POST {P}judges/trials/"),
    "p/<slug:slug>/judges/<int:pk>/edit/": (f"POST {_JUDGE}versions/", f"POST {_JUDGE}trials/"),
    "p/<slug:slug>/judges/<int:pk>/ask/": (f"POST {_JUDGE}runs/",),
    "p/<slug:slug>/judges/<int:pk>/retry/": (f"POST {_JUDGE}retry/",),
    "p/<slug:slug>/judges/<int:pk>/runs/<int:run>/go-on/": (f"POST {_JUDGE}runs/<int:run>/continue/",),
    "p/<slug:slug>/judges/<int:pk>/attack/": (f"POST {_JUDGE}attack/",),
    "p/<slug:slug>/judges/<int:pk>/align/": (f"POST {_JUDGE}alignments/",),
    "p/<slug:slug>/judges/alignments/<int:pk>/use/": (f"POST {P}alignments/<int:pk>/use/",),
    "p/<slug:slug>/judges/<int:pk>/test/": (f"POST {_JUDGE}test/",),
    "p/<slug:slug>/judges/<int:pk>/retire/": (f"POST {_JUDGE}retire/",),
    "p/<slug:slug>/judges/<int:pk>/use-for-labels/": (f"POST {_JUDGE}use-for-labels/",),
    "p/<slug:slug>/judges/endpoints/<int:pk>/": (
        f"PATCH {P}endpoints/<int:pk>/",
        f"POST {P}endpoints/<int:pk>/test/",
        f"POST {P}endpoints/<int:pk>/probe/",
    ),
    # annotating
    "p/<slug:slug>/annotate/next/": (f"POST {P}next/",),
    "p/<slug:slug>/annotate/vote/": ("POST votes/",),
    "p/<slug:slug>/annotate/rank/": ("POST rankings/",),
    "p/<slug:slug>/annotate/rate/next/": (f"POST {P}ratings/next/",),
    "p/<slug:slug>/annotate/rate/save/": ("POST ratings/",),
    "p/<slug:slug>/annotate/rate/undo/": ("DELETE ratings/of/<int:seat>/",),
    "p/<slug:slug>/annotate/undo/": ("DELETE votes/of/<int:assignment>/",),
    "p/<slug:slug>/annotate/rate/flag/": ("POST ratings/flags/", "DELETE ratings/flags/of/<int:seat>/"),
    "p/<slug:slug>/annotate/flag/": ("POST flags/", "DELETE flags/of/<int:assignment>/"),
    "p/<slug:slug>/annotate/practice/": (f"POST {P}practice/",),
    # leading
    "p/<slug:slug>/review/<int:comparison_id>/decide/": (f"PUT {P}comparisons/<int:comparison_id>/decision/",),
    "p/<slug:slug>/review/<int:comparison_id>/withdraw/": (f"DELETE {P}comparisons/<int:comparison_id>/decision/",),
    "p/<slug:slug>/review/undo/": (f"DELETE {P}agreements/",),
    "p/<slug:slug>/review/several/": (f"POST {P}agreements/",),
    "p/<slug:slug>/review/split/<int:comparison_id>/": (f"PUT {P}adjudications/<int:comparison_id>/",),
    "p/<slug:slug>/review/split/undo/": (f"DELETE {P}adjudications/<int:comparison_id>/",),
    "p/<slug:slug>/review/flags/<int:pk>/resolve/": (f"PUT {P}flags/<int:pk>/",),
    "p/<slug:slug>/review/gold/": (f"PATCH {P}gold/",),
    "p/<slug:slug>/review/gold/<int:comparison_id>/": (
        f"PUT {P}comparisons/<int:comparison_id>/gold/",
        f"DELETE {P}comparisons/<int:comparison_id>/gold/",
    ),
    "p/<slug:slug>/annotate/rate/practice/": (f"POST {P}ratings/practice/",),
    "p/<slug:slug>/review/gold/answers/<int:answer_id>/": (
        f"PUT {P}answers/<int:answer_id>/gold/",
        f"DELETE {P}answers/<int:answer_id>/gold/",
    ),
    "p/<slug:slug>/review/budget/": (f"PATCH {P}budget/",),
    "p/<slug:slug>/review/budget/pause/": (f"PUT {P}pause/",),
    "p/<slug:slug>/review/practice/": (f"PATCH {P}practices/",),
    "p/<slug:slug>/review/practice/decide/": (f"PUT {P}practices/<str:username>/",),
    "p/<slug:slug>/review/batches/": (f"POST {P}batches/",),
    "p/<slug:slug>/review/batches/<int:pk>/close/": (f"POST {P}batches/<int:pk>/close/",),
    # data
    "p/<slug:slug>/data/hub/": (f"POST {P}uploads/hub/",),
    "p/<slug:slug>/data/uploads/": (f"POST {P}uploads/", f"POST {P}records/"),
    "p/<slug:slug>/data/uploads/<str:token>/import/": (f"POST {P}uploads/<str:token>/import/",),
    "p/<slug:slug>/data/uploads/<str:token>/map/": (
        f"PUT {P}uploads/<str:token>/mapping/",
        f"DELETE {P}uploads/<str:token>/mapping/",
    ),
    "p/<slug:slug>/data/uploads/<str:token>/drop/": (f"DELETE {P}uploads/<str:token>/",),
    # loops
    "p/<slug:slug>/loops/new/<slug:recipe>/": (f"POST {P}loops/",),
    "p/<slug:slug>/loops/new/<slug:recipe>/ingredient/": (f"POST {P}recipes/<slug:recipe>/ingredient/",),
    "p/<slug:slug>/loops/<int:pk>/pause/": (f"POST {_LOOP}pause/",),
    "p/<slug:slug>/loops/<int:pk>/resume/": (f"POST {_LOOP}resume/",),
    "p/<slug:slug>/loops/<int:pk>/cancel/": (f"POST {_LOOP}cancel/",),
    "p/<slug:slug>/loops/<int:pk>/continue/": (f"POST {_LOOP}continue/",),
    "p/<slug:slug>/loops/<int:pk>/change/": (f"POST {_LOOP}changes/",),
    "p/<slug:slug>/loops/<int:pk>/rounds/<int:index>/without-overrides/": (
        f"POST {_LOOP}rounds/<int:index>/without-overrides/",
    ),
    "p/<slug:slug>/comparisons/<int:comparison_id>/edit/<slug:side>/": (
        f"POST {P}comparisons/<int:comparison_id>/edits/<slug:side>/",
    ),
    # reports
    "p/<slug:slug>/reports/leaderboard/work-out/": "A program that asks for the leaderboard gets all of it at once.",
    "p/<slug:slug>/reports/laboratory/<slug:name>/run/": (f"POST {P}studies/<slug:name>/",),
    "p/<slug:slug>/reports/laboratory/<slug:name>/stop/": (f"POST {P}studies/<slug:name>/stop/",),
    "p/<slug:slug>/reports/people/exclude/": (f"POST {P}exclusions/",),
    "p/<slug:slug>/reports/people/exclusions/<int:pk>/lift/": (f"DELETE {P}exclusions/<int:pk>/",),
}
