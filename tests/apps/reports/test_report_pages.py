"""The reports' pages, API, files and command: who reads them, and that they say the same."""

from __future__ import annotations

import json

import pytest

from apps.reports import figures, selectors, services

pytestmark = pytest.mark.django_db


@pytest.mark.slow
def test_who_reads_reports(project, told, alice, bob, erin, ann, charlie, client_for, api_for):
    for path in ("reports/agreement/", "reports/leaderboard/", "reports/agreement.json", "reports/leaderboard.json"):
        for person, status in ((alice, 200), (bob, 200), (erin, 200), (ann, 404), (charlie, 404)):
            assert client_for(person).get(f"/p/letters-test/{path}").status_code == status
    for path in ("agreement", "leaderboard"):
        for person, status in ((bob, 200), (ann, 404), (charlie, 404), (None, 401)):
            assert api_for(person).get(f"/api/v1/projects/letters-test/reports/{path}/").status_code == status


@pytest.mark.slow
def test_page_api_download_and_command_say_the_same(project, told, bob, client_for, api_for):
    report = services.agreement_report(project=project)
    assert api_for(bob).get("/api/v1/projects/letters-test/reports/agreement/").json() == report
    download = client_for(bob).get("/p/letters-test/reports/agreement.json")
    whole = json.loads(download.content)
    assert {key: whole[key] for key in report} == report
    beside = {"overrides", "slices", "votes", "criterion", "version", "made_at", "n_bootstrap", "seed"}
    assert set(whole) - set(report) == beside
    assert "attachment" in download.headers["Content-Disposition"]
    board = services.leaderboard_report(project=project, source="abe")
    assert api_for(bob).get("/api/v1/projects/letters-test/reports/leaderboard/?source=abe").json() == board
    assert api_for(bob).get("/api/v1/projects/letters-test/reports/leaderboard/?source=nobody").status_code == 400
    assert api_for(bob).get("/api/v1/projects/letters-test/reports/agreement/?seed=-1").status_code == 400
    assert client_for(bob).get("/p/letters-test/reports/leaderboard/?source=nobody").status_code == 404


@pytest.mark.slow
def test_a_cell_of_the_confusion_leads_to_its_pairs(project, told, bob, client_for):
    page = client_for(bob).get("/p/letters-test/reports/agreement/?judge=abe&truth=first&said=second").content.decode()
    columns, ids = selectors.agreement_columns(project)
    rows = figures.disagreements(columns, "abe", truth_code=0, said_code=1)
    assert rows
    for row in rows[:25]:
        assert f'href="/p/letters-test/comparisons/{ids[row.item]}/"' in page


@pytest.mark.slow
def test_pages_answer_where_nothing_was_said(project, bob, client_for, make_comparison, make_judge, make_verdict):
    client = client_for(bob)
    assert "No comparisons yet" in client.get("/p/letters-test/reports/agreement/").content.decode()
    assert (
        "No pairs compare two named models yet" in client.get("/p/letters-test/reports/leaderboard/").content.decode()
    )
    c = make_comparison(project, models=("m1", "m2"))
    assert "No verdicts yet" in client.get("/p/letters-test/reports/agreement/").content.decode()
    make_verdict(c, "first", judge=make_judge(project, "j"))
    assert "Nothing to check the judges against" in client.get("/p/letters-test/reports/agreement/").content.decode()
    assert "Strengths can&#x27;t be estimated" in client.get(
        "/p/letters-test/reports/leaderboard/"
    ).content.decode().replace("can't", "can&#x27;t")


@pytest.mark.slow
def test_names_and_texts_of_strangers_stay_text(project, bob, client_for, make_comparison, make_judge, make_verdict):
    nasty = '<script>alert("x")</script><img src=x onerror=alert(1)>'
    c = make_comparison(project, (nasty, "b"), models=(nasty, "m2"), gold="second", held_out=True)
    make_verdict(c, "first", judge=make_judge(project, nasty[:100]))
    for path in ("agreement", "leaderboard"):
        page = client_for(bob).get(f"/p/letters-test/reports/{path}/").content.decode()
        assert "&lt;script&gt;alert" in page
        assert "<script>alert" not in page
        assert "<img src=x" not in page


@pytest.mark.slow
def test_a_page_asks_the_database_the_same_whatever_the_size(
    project, told, bob, client_for, django_assert_max_num_queries
):
    client = client_for(bob)
    with django_assert_max_num_queries(52):  # a fixed number for each section of the page
        client.get("/p/letters-test/reports/agreement/")


def test_the_reports_begin_with_the_agreement(client_for, bob, ann, project):
    assert client_for(bob).get("/p/letters-test/reports/")["Location"] == "/p/letters-test/reports/agreement/"
    assert client_for(ann).get("/p/letters-test/reports/").status_code == 404
