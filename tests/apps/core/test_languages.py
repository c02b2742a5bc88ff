"""Pages and mails in the languages of settings.LANGUAGES: the catalogs are whole, and what a person chose is used."""

from __future__ import annotations

import gettext
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path

import polib
import pytest
from django import conf
from django.conf import settings
from django.contrib import auth
from django.core import mail
from django.urls import reverse
from django.utils import translation

from apps.events.models import Event, Notification
from apps.events.notifications import mail_send
from apps.prompts.models import Prompt
from apps.samples.models import Completion
from prefloop.recipes.catalogue import CATALOGUE

ROOT = Path(__file__).resolve().parents[3]
OTHERS = [code for code, _name in settings.LANGUAGES if code != settings.LANGUAGE_CODE]
PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|\{\w*\}|<[^>]+>|`[^`]*`")


@pytest.fixture(autouse=True)
def the_usual_language_afterwards():
    """The next request of a server sets its language itself; the next test may ask for none."""
    yield
    translation.activate(settings.LANGUAGE_CODE)


def catalog(code, root=ROOT):
    return polib.pofile(str(root / "locale" / code / "LC_MESSAGES" / "django.po"))


def said(entry):
    return list(entry.msgstr_plural.values()) if entry.msgid_plural else [entry.msgstr]


@pytest.mark.slow
@pytest.mark.parametrize("code", OTHERS)
def test_every_text_is_translated(code):
    missing = [e.msgid for e in catalog(code) if e.fuzzy or e.obsolete or not all(text.strip() for text in said(e))]
    assert missing == []


@pytest.mark.parametrize("code", OTHERS)
def test_a_translation_keeps_the_places_of_values_and_tags(code):
    wrong = []
    for entry in catalog(code):
        wanted = set(PLACEHOLDER.findall(entry.msgid_plural or entry.msgid))
        wrong += [entry.msgid for text in said(entry) if set(PLACEHOLDER.findall(text)) != wanted]
    assert wrong == []


@pytest.mark.parametrize("code", OTHERS)
def test_what_is_compiled_is_the_catalog(code):
    with (ROOT / "locale" / code / "LC_MESSAGES" / "django.mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    stale = [e.msgid for e in catalog(code) if not e.msgid_plural and compiled.gettext(e.msgid) != e.msgstr]
    stale += [
        e.msgid for e in catalog(code) if e.msgid_plural and compiled.ngettext(e.msgid, "", 2) != e.msgstr_plural[0]
    ]
    assert stale == [], "run manage.py compilemessages"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("xgettext") is None, reason="gettext: not installed (apt-get install gettext)")
def test_the_catalogs_hold_the_texts_of_the_code(tmp_path):
    for folder in ("apps", "config", "prefloop", "templates", "workers", "locale", "static"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "vendor"))
    for name in ("manage.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    subprocess.run(
        [sys.executable, "manage.py", "makemessages", "--verbosity", "0"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PREFLOOP_VAR": str(tmp_path / "var"), "PYTHONPATH": str(tmp_path)},
        check=True,
        capture_output=True,
    )
    for code in OTHERS:
        now = {(e.msgid, e.msgid_plural) for e in catalog(code, tmp_path) if not e.obsolete}
        stored = {(e.msgid, e.msgid_plural) for e in catalog(code)}
        assert now == stored, "run manage.py makemessages, translate what is new, then compilemessages"


# --- what a page shows ------------------------------------------------------------------------------------------------

OPENING, CLOSING = "⟦", "⟧"
WHOLE = re.compile(f"{OPENING}[^{OPENING}{CLOSING}]*{CLOSING}")
SPOKEN = ("title", "placeholder", "aria-label", "alt")
QUIET = ("script", "style", "code", "pre", "kbd", "svg", "title", "option")  # no prose, or names and values


class Texts(HTMLParser):
    """Collect what a person reads on a page: each block's text, and the attributes that are shown or spoken."""

    def __init__(self):
        super().__init__()
        self.texts, self._quiet, self._english, self._block = [], 0, [], []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self._quiet += tag in QUIET
        if self._english or (found.get("lang") == "en" and tag == "span"):  # said to be English
            self._english.append(tag)
        if not self._quiet and not self._english:
            self.texts += [v for k, v in attributes if v and (k in SPOKEN or k.startswith("data-say"))]
        if tag not in INLINE:
            self._end()

    def handle_endtag(self, tag):
        self._quiet -= tag in QUIET
        if self._english:
            self._english.pop()
        if tag not in INLINE:
            self._end()

    def handle_data(self, data):
        if not self._quiet and not self._english:
            self._block.append(data)

    def _end(self):
        self.texts.append(" ".join("".join(self._block).split()))
        self._block = []


INLINE = ("a", "b", "em", "strong", "span", "time", "relative-time", "i", "small")


def unmarked(text):
    """What is left of a text without what went through gettext."""
    while (shorter := WHOLE.sub(" ", text)) != text:
        text = shorter
    return text


@pytest.fixture
def marking(monkeypatch):
    """Every text that is asked to be translated comes back in brackets; returns the set of those asked for."""
    reverse("accounts:profile")  # imports all views: the descriptions of the API are made then, without brackets
    asked = set()

    def one(text):
        asked.add(str(text))
        return f"{OPENING}{text}{CLOSING}" if text else ""

    backend = translation._trans
    monkeypatch.setattr(backend, "gettext", one, raising=False)
    monkeypatch.setattr(backend, "ngettext", lambda a, b, n: asked.add(a) or one(a if n == 1 else b), raising=False)
    return asked


NAMES = re.compile(  # what has one name in every language
    r"prefloop|(letters-)?(train|eval)(-\d+)?\b|letters|Letters|Kind and correct\.|Ctrl K|\bUTC\b|hf:\S+"
    r"|OpenRLHF|RLHFlow|Chatbot Arena|MT-Bench|AlpacaEval|TRL[\w: ,]*|(judge:)?world-preference|tiny|alice"
    r"|English|Thank-you|The kinder and more correct letter\.|https?:\S*|[\w-]+\.(jsonl?|csv|parquet|gguf|md)"
    r"|[a-z_]+\.[a-z_.]+\b"
)


def stored_texts():
    """The texts of the project's rows, and the names and papers of recipes: nobody translates these."""
    texts = [*Completion.objects.values_list("text", flat=True), *Prompt.objects.values_list("text", flat=True)]
    texts += [words for recipe in CATALOGUE.values() for words in (recipe.name, recipe.paper, *recipe.sources.values())]
    return " ".join(" ".join(texts).split())


@pytest.mark.slow
def test_pages_show_no_text_that_can_not_be_translated(marking, make_letters_project, alice, client_for):
    project = make_letters_project("spoken")
    from apps.projects.models import Membership, Role

    Membership.objects.get_or_create(project=project, user=alice, defaults={"role": Role.OWNER})
    client = client_for(alice)
    base = f"/p/{project.slug}/"
    pages = ["", "annotate/", "judges/", "judges/new/", "policies/", "data/", "prompts/", "samples/", "settings/"]
    pages += ["loops/", "loops/new/", "loops/new/iterative-dpo/", "review/", "jobs/", "reports/agreement/"]
    pages += ["reports/leaderboard/", "reports/frontier/", "reports/people/", "reports/reasons/"]
    found, stored = defaultdict(set), stored_texts()
    for path in ["/", "/account/", *(base + page for page in pages)]:
        response = client.get(path, follow=True)
        assert response.status_code == 200, path
        parser = Texts()
        parser.feed(response.content.decode())
        for text in parser.texts:
            left = unmarked(text)
            if re.search(r"[A-Za-z]{3,}", NAMES.sub(" ", left)) and " ".join(left.split()).rstrip(": ") not in stored:
                found[text].add(path)
    listed = "\n".join(f"{text[:300]!r} on {sorted(paths)[0]}" for text, paths in sorted(found.items()))
    if listed:
        pytest.fail(f"texts that no translation can reach:\n{listed}")
    theirs = [Path(one.__file__).parent / "locale" / "ko" / "LC_MESSAGES" / "django.mo" for one in (conf, auth)]
    entries = [*catalog("ko"), *(entry for path in theirs for entry in polib.mofile(str(path)))]
    known = {text for entry in entries for text in (entry.msgid, entry.msgid_plural)}
    known |= {":", *dict(settings.LANGUAGES).values()}
    unknown = sorted(text for text in marking if text not in known and OPENING not in text)
    assert unknown == [], unknown


# --- who sees which ---------------------------------------------------------------------------------------------------


def heading(client, **headers):
    page = client.get(reverse("accounts:profile"), headers=headers).content.decode()
    return re.search(r"<html lang=.(\w+).", page)[1], "Your profile" in page


def test_a_page_is_in_the_browsers_language_until_somebody_chooses_one(alice, client_for):
    client = client_for(alice)
    assert heading(client) == ("en", True)
    assert heading(client, accept_language="ko") == ("ko", False)
    assert heading(client, accept_language="fr") == ("en", True)
    response = client.post(reverse("accounts:language"), {"language": "ja", "next": "/account/"})
    assert (response.status_code, response.headers["Location"]) == (302, "/account/")
    assert heading(client, accept_language="ko") == ("ja", False)
    alice.refresh_from_db()
    assert alice.language == "ja"
    assert heading(client_for(alice)) == ("ja", False)  # in another browser too


def test_a_stranger_chooses_on_the_sign_in_page(client_for):
    client = client_for(None)
    client.post(reverse("accounts:language"), {"language": "ko", "next": "/login/"})
    page = client.get("/login/").content.decode()
    assert '<html lang="ko"' in page
    assert "로그인" in page
    assert all(f">{name}</button>" in page for name in ("English", "한국어", "日本語")), "each calls itself"


@pytest.mark.parametrize("chosen", ["fr", "", "../x"])
def test_a_language_that_is_not_there_is_refused(chosen, alice, client_for):
    assert client_for(alice).post(reverse("accounts:language"), {"language": chosen}).status_code == 400
    alice.refresh_from_db()
    assert alice.language == ""


def test_the_choice_leads_to_no_other_site(client_for):
    response = client_for(None).post(reverse("accounts:language"), {"language": "ko", "next": "https://example.com/"})
    assert response.headers["Location"] == "/"


def test_a_mail_is_in_its_readers_language(alice, project, settings):
    settings.EMAIL_HOST = "mail.invalid"
    event = Event.objects.create(project=project, kind="review.waiting", data={"loop": 1, "round": 0, "n": 3})
    alice.email = "alice@example.com"
    alice.save()
    row, bodies = Notification.objects.create(user=alice, event=event), {}
    for language in ("", "ko", "ja"):
        alice.language = language
        alice.save()
        mail.outbox.clear()
        mail_send(row)
        bodies[language] = mail.outbox[0].body
    assert "Loop 1 waits for reviews of 3 pairs" in bodies[""]
    assert len(set(bodies.values())) == 3
    assert re.search(r"[가-힣]", bodies["ko"])
    assert re.search(r"[ぁ-ん]", bodies["ja"])
