"""Every act that the audit log holds, declared once: its verb, its area, and its words.

`apps.core.services.audit` refuses any other. The log's page and API, its filters, and the overview's recent events
read this table. The words follow the name of who did it: "alice invited a person".
"""

from __future__ import annotations

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

AREAS: dict[str, str | Promise] = {
    "people": _("People and roles"),
    "access": _("Sign-in and tokens"),
    "settings": _("Settings"),
    "labels": _("Labels"),
    "data": _("Data in and out"),
    "models": _("Models and endpoints"),
    "loops": _("Loops and studies"),
}

_DECLARED: dict[str, dict[str, str | Promise]] = {
    "people": {
        "user.create": _("made an account"),
        "user.admin": _("made somebody an admin"),
        "user.delete": _("deleted an account"),
        "user.gone": _("removed the last data of a deleted account"),
        "member.add": _("added a person"),
        "member.remove": _("removed a person"),
        "member.role_change": _("changed somebody's role"),
        "invitation.create": _("invited a person"),
        "invitation.accept": _("accepted an invitation"),
        "invitation.revoke": _("revoked an invitation"),
        "group.create": _("made a group of members"),
        "group.change": _("changed a group of members"),
        "group.delete": _("deleted a group of members"),
    },
    "access": {
        "sign_in": _("signed in"),
        "sign_in.refused": _("failed to sign in too often and has to wait"),
        "sign_in.sso": _("signed in through the identity provider"),
        "sso.link": _("came from the identity provider for the first time"),
        "sso.address": _("set somebody's address for single sign-on"),
        "sign_out": _("signed out"),
        "session.end": _("ended a session"),
        "login_link.create": _("made a sign-in link"),
        "login_link.use": _("used a sign-in link"),
        "password.set": _("set a password"),
        "factor.add": _("added a second factor"),
        "factor.remove": _("removed a second factor"),
        "factor.codes": _("made new recovery codes"),
        "factor.refused": _("gave a wrong second factor"),
        "token.create": _("made an API token"),
        "token.revoke": _("revoked an API token"),
    },
    "settings": {
        "project.create": _("created the project"),
        "project.update": _("changed the project's settings"),
        "project.label_policy": _("changed the rules for labels"),
        "project.label_judge": _("chose the label judge"),
        "guideline.add": _("wrote a new version of the guidelines"),
        "practice.bound": _("set how much of the practice must be right"),
        "gold.share": _("set the share of gold pairs"),
        "queue.budget": _("set the budget of labels"),
        "retention.set": _("set how long data are kept"),
        "quota.set": _("changed quotas"),
        "webhook.create": _("made a webhook"),
        "webhook.on": _("turned a webhook on"),
        "webhook.off": _("turned a webhook off"),
        "webhook.delete": _("deleted a webhook"),
    },
    "labels": {
        "override.create": _("corrected a judge"),
        "override.withdraw": _("undid a correction"),
        "adjudication.create": _("decided a split pair"),
        "adjudication.withdraw": _("undid a decision"),
        "answer.edit": _("edited an answer"),
        "annotator.exclude": _("excluded the labels of a person"),
        "annotator.include": _("counted a person's labels again"),
        "gold.mark": _("marked a gold pair"),
        "gold.unmark": _("unmarked a gold pair"),
        "flag.resolve": _("resolved a flag"),
        "flag.reopen": _("opened a flag again"),
        "flag.withdraw": _("took back a flag"),
        "practice.again": _("had somebody practise again"),
        "practice.qualify": _("let somebody past the practice"),
        "queue.pause": _("paused annotation"),
        "queue.resume": _("resumed annotation"),
        "batch.create": _("gave out a batch of pairs"),
        "batch.close": _("closed a batch of pairs"),
    },
    "data": {
        "data.import": _("imported a file"),
        "data.export": _("exported labels"),
        "prompt.delete": _("deleted a prompt and its data"),
        "person.delete": _("deleted a person's data"),
        "project.delete": _("deleted a project"),
        "retention.run": _("removed what is kept no longer"),
    },
    "models": {
        "checkpoint.export": _("took a checkpoint away"),
        "checkpoint.approve": _("approved a checkpoint"),
        "checkpoint.withdraw_approval": _("withdrew the approval of a checkpoint"),
        "endpoint.create": _("added an endpoint"),
        "endpoint.change": _("changed an endpoint's address or key"),
        "endpoint.spending": _("changed an endpoint's prices and limits"),
        "compared checkpoints": _("compared two checkpoints"),
    },
    "loops": {
        "loop started": _("started %(target)s"),
        "loop paused": _("paused %(target)s"),
        "loop changed": _("changed the settings of %(target)s"),
        "loop cancelled": _("stopped %(target)s"),
        "loop resumed": _("resumed %(target)s"),
        "review gate left": _("let %(target)s continue without the remaining labels"),
        "trained without overrides": _("trained a round of %(target)s again without corrections"),
        "study started": _("started a study"),
        "study stopped": _("stopped a study"),
    },
}

ACTS: dict[str, str | Promise] = {verb: words for acts in _DECLARED.values() for verb, words in acts.items()}
VERBS_OF: dict[str, tuple[str, ...]] = {area: tuple(acts) for area, acts in _DECLARED.items()}
AREA_OF: dict[str, str] = {verb: area for area, acts in _DECLARED.items() for verb in acts}
