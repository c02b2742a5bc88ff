from __future__ import annotations

import pytest


@pytest.fixture
def root(alice):
    """Alice, who is an admin too: she may make projects."""
    alice.is_superuser = True
    alice.save(update_fields=["is_superuser"])
    return alice


@pytest.fixture
def pages(project):
    from apps.projects.services import guideline_add

    guideline_add(project=project, text="# Look for\n\nwarmth\n\n```python\nx = 1  # note\n```", actor=None)
    base = f"/p/{project.slug}/settings/"
    return [
        "/",
        "/projects/new/",
        "/account/",
        "/account/password/",
        "/account/tokens/",
        "/nothing-here",
        "/api/docs/",
        *[f"{base}?tab={tab}" for tab in ("general", "labels", "guidelines", "members")],
    ]


@pytest.mark.parametrize("width", ["wide", "middle", "phone"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_of_the_frame_is_accessible_and_fits(page_for, root, pages, axe, fits, shoot, width, theme):
    page = page_for(root, width=width, theme=theme)
    for number, path in enumerate(pages):
        answer = page.goto(path)
        assert answer.status == (404 if path == "/nothing-here" else 200), path
        axe(page)
        fits(page)
        shoot(page, f"shell-{number}-{width}-{theme}")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_sign_in_page_is_accessible(page_for, axe, fits, theme):
    page = page_for(None, theme=theme, width="phone")
    page.goto("/login/")
    axe(page)
    fits(page)


def test_a_person_signs_in_and_out_by_keyboard(page_for, make_user, project):
    make_user("dora", password="correct horse staple", is_superuser=True)
    page = page_for(None)
    page.goto("/projects/new/")
    page.keyboard.type("dora")
    page.keyboard.press("Tab")
    page.keyboard.type("correct horse staple")
    page.keyboard.press("Enter")
    page.wait_for_url("**/projects/new/")
    page.get_by_role("button", name="Create project").wait_for()
    page.get_by_label("Your account").click()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/login/")


def test_the_palette_opens_with_ctrl_k_and_goes_where_it_says(page_for, alice, project):
    page = page_for(alice)
    page.goto(f"/p/{project.slug}/settings/")
    page.keyboard.press("Control+k")
    page.get_by_role("combobox").fill("api tok")
    page.keyboard.press("Enter")
    page.wait_for_url("**/account/tokens/")


def test_the_theme_switch_changes_the_page_at_once_and_is_remembered(page_for, alice):
    page = page_for(alice)
    page.goto("/")
    background = "() => getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(background)
    switch = page.locator("theme-switch button")
    with page.expect_response("**/account/theme/"):
        switch.click()
    with page.expect_response("**/account/theme/"):
        switch.click()
    assert page.evaluate("() => document.documentElement.dataset.theme") == "dark"
    dark = page.evaluate(background)
    assert dark != light
    page.reload()
    assert page.evaluate(background) == dark
    alice.refresh_from_db()
    assert alice.theme == "dark"


def test_the_rail_is_a_bottom_bar_on_a_phone_and_more_reaches_every_page(page_for, alice, project):
    page = page_for(alice, width="phone")
    page.goto(f"/p/{project.slug}/settings/")
    rail = page.get_by_role("navigation", name="Thank-you letters: pages")
    box = rail.bounding_box()
    assert box["y"] + box["height"] == pytest.approx(844, abs=1)
    rail.get_by_text("More", exact=True).click()
    shown = set(rail.locator("a:visible").evaluate_all("nodes => nodes.map(n => n.getAttribute('href'))"))
    words = "prompts samples annotate review judges loops policies reports/agreement data settings".split()  # noqa: SIM905
    assert shown == {f"/p/{project.slug}/", *(f"/p/{project.slug}/{word}/" for word in words)}


def test_a_project_is_made_without_scripts(page_for, root):
    page = page_for(root, scripts=False)
    page.goto("/")
    page.get_by_role("link", name="New project").click()
    page.get_by_label("Name").fill("Poems about rain")
    page.get_by_role("button", name="Create project").click()
    assert page.url.endswith("/p/poems-about-rain/")


def test_a_project_name_with_markup_stays_text_everywhere(page_for, alice, make_project):
    name = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    project = make_project("evil", owner=alice, name=name, criterion=name)
    page = page_for(alice)
    for path in ("/", f"/p/{project.slug}/settings/", f"/p/{project.slug}/settings/?tab=labels"):
        page.goto(path)
        page.keyboard.press("Control+k")
        page.get_by_role("combobox").fill("script")
        assert page.locator("img").count() == 0
        assert page.get_by_text(name[:20]).count() >= 1


def test_a_live_region_asks_again_and_stops_when_told(page_for, alice):
    page = page_for(alice)
    asked = []

    def answer(route):
        asked.append(route.request.url)
        if len(asked) == 1:
            route.fulfill(status=200, body="<p id='news'>two of three</p>", headers={"X-Since": "7"})
        elif len(asked) == 2:
            route.fulfill(status=204)
        else:
            route.fulfill(status=200, body="<p id='news'>done</p>", headers={"X-Poll": "stop"})

    page.route("**/part/**", answer)
    page.goto("/")
    page.evaluate(
        "() => { document.querySelector('main').insertAdjacentHTML('beforeend', "
        '\'<live-region src="/part/" every="0.05" since="3"><p id="news">one</p></live-region>\'); }'
    )
    page.locator("#news", has_text="done").wait_for()
    assert asked[0].endswith("?since=3")
    assert asked[1].endswith("?since=7")
    assert len(asked) == 3


def test_the_palette_finds_recipes_loops_prompts_and_themes(page_for, bob, project, make_prompt):
    from apps.training.models import Loop

    prompt = make_prompt(project, "Write a thank-you note about the zeppelin.")
    loop = Loop.objects.create(project=project, recipe="rlhf", config={}, n_rounds=1)
    page = page_for(bob)
    for typed, label, address in (
        ("zeppelin", "Write a thank-you note about the zeppelin.", f"**/prompts/{prompt.pk}/"),
        ("iterative-dpo", "iterative-dpo: ", "**/loops/new/iterative-dpo/"),
        (f"loop {loop.pk}: rl", f"Loop {loop.pk}: rlhf", f"**/loops/{loop.pk}/"),
    ):
        page.goto(f"/p/{project.slug}/settings/")
        page.keyboard.press("Control+k")
        page.get_by_role("combobox").fill(typed)
        option = page.get_by_role("option").filter(has_text=label).first
        option.wait_for()
        assert option.get_attribute("data-url").endswith(address.removeprefix("**"))
    page.get_by_role("combobox").fill("theme: dark")
    with page.expect_response("**/account/theme/"):
        page.keyboard.press("Enter")
    assert page.evaluate("() => document.documentElement.dataset.theme") == "dark"


def test_a_phone_shows_the_chosen_tab_and_all_of_a_field_in_a_table(page_for, alice, project):
    page = page_for(alice, width="small")
    for path in ("review/budget/", "review/flags/", "reports/laboratory/", "settings/webhooks/"):
        page.goto(f"/p/{project.slug}/{path}")
        chosen = page.locator(".tabs > [aria-current]").bounding_box()
        assert 0 <= chosen["x"] < chosen["x"] + chosen["width"] <= 360, path
    page.goto(f"/p/{project.slug}/review/budget/")
    field = page.get_by_role("textbox", name="Why, as alice reads it").bounding_box()
    assert field["width"] >= 60
    assert field["x"] + field["width"] <= 360 - 16
