"""A real Chromium against a live server. Every page opened here must run without a script error or a CSP refusal."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from apps.core.chromium import chromium as chromium_there

ROOT = Path(__file__).resolve().parents[2]
AXE = (ROOT / "tests" / "vendor" / "axe.min.js").read_text(encoding="utf-8")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
WIDTHS = {
    "wide": (1440, 900),
    "middle": (1000, 760),
    "tablet": (768, 1024),
    "phone": (390, 844),
    "small": (360, 640),
    "doubled": (720, 450),  # 1440 × 900 at 200 % zoom
    "fourfold": (360, 225),  # and at 400 %
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """One browser for the whole session: the machine's where it has one, else Playwright's own."""
    from playwright.sync_api import Error, expect, sync_playwright

    expect.set_options(timeout=15_000)  # of milliseconds, as for what a page is asked to do

    # Playwright's loop runs in this thread, and Django refuses the ORM beside a running loop unless told otherwise.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=chromium_there(), args=ARGUMENTS)
        except Error as error:
            pytest.skip(f"chromium: cannot be started ({str(error).splitlines()[0]})")
        yield browser
        browser.close()
    os.environ.pop("DJANGO_ALLOW_ASYNC_UNSAFE", None)


@pytest.fixture
def page_for(chromium: Any, live_server: Any, client_for: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """page_for(user, width=one of WIDTHS, theme="light"|"dark", scripts=True): a page of a signed-in person.

    `page.goto("/p/…")` takes paths; `page.problems` collects script errors and refused content, and must be empty
    at the end of the test (clear it in a test that provokes one).
    """
    opened: list[Any] = []

    def make(user: Any = None, *, width: str = "wide", theme: str = "light", scripts: bool = True) -> Any:
        w, h = WIDTHS[width]
        context = chromium.new_context(
            base_url=live_server.url,
            viewport={"width": w, "height": h},
            color_scheme=theme,
            java_script_enabled=scripts,
            reduced_motion="reduce",
        )
        if user is not None:
            session = client_for(user).cookies["sessionid"].value
            context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.problems = []
        page.on("pageerror", lambda error: page.problems.append(f"script error: {error}"))
        page.on(
            "console",
            lambda message: (
                page.problems.append(f"console: {message.text}")
                if message.type == "error" and "Failed to load resource" not in message.text
                else None
            ),
        )
        page.on("dialog", lambda dialog: dialog.accept() if dialog.type != "alert" else _alert(page, dialog))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((live_server.url, "data:", "blob:"))
                else page.problems.append(f"a request to a stranger: {request.url}")
            ),
        )
        opened.append(page)
        return page

    yield make
    problems = [problem for page in opened for problem in page.problems]
    for page in opened:
        page.context.close()
    assert problems == []


def _alert(page: Any, dialog: Any) -> None:
    page.problems.append(f"an alert appeared: {dialog.message}")
    dialog.dismiss()


@pytest.fixture
def shoot() -> Callable[[Any, str], None]:
    """shoot(page, "name"): keep a screenshot in var/screenshots when PREFLOOP_SHOTS=1; else nothing."""

    def take(page: Any, name: str) -> None:
        if os.environ.get("PREFLOOP_SHOTS") == "1":
            folder = Path(os.environ.get("PREFLOOP_VAR", ROOT / "var")) / "screenshots"
            folder.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=str(folder / f"{name}.png"))

    return take


@pytest.fixture
def axe() -> Callable[..., None]:
    """axe(page): fail on any finding of WCAG 2.2 A and AA and of good practice, naming rule and element.

    Of the experimental rules one is checked too: what a control shows must be in its name (WCAG 2.5.3).
    """

    def check(page: Any, *, ignore: tuple[str, ...] = ()) -> None:
        page.evaluate(AXE)
        result = page.evaluate(
            "() => axe.run(document, {resultTypes: ['violations'], "
            "runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'], "
            "rules: {'label-content-name-mismatch': {enabled: true}}})"
        )
        found = [
            f"{violation['id']} ({violation['impact']}): {node['target']} {node['html'][:120]}"
            for violation in result["violations"]
            if violation["id"] not in ignore
            for node in violation["nodes"][:3]
        ]
        assert found == [], f"{page.url}\n" + "\n".join(found)

    return check


@pytest.fixture
def fits() -> Callable[[Any], None]:
    """fits(page): fail where the page scrolls sideways."""

    def check(page: Any) -> None:
        wide = page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{page.url} is {wide} px wider than the window"

    return check
