"""How answers look: formulas, tables, code, differences, directions; and nothing of them gets out of its place."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.django_db(transaction=True)
DESK = "/p/letters-test/annotate/"
RICH = (
    "It is \\(O(n)\\), since\n\\[ T(n) = \\frac{n}{2} \\]\n\n| Fruit | Price |\n|---|---|\n| Apple | 1 |\n\n"
    "```python\ndef f(x):\n    return x\n```\n\nDear Maria,\nthank you."
)
HOSTILE = (
    r"$\href{javascript:alert(1)}{x}$ $\htmlStyle{color: red}{y}$ $\includegraphics{https://evil.example/x.png}$ "
    r"$\def\a{\a\a}\a$ $\frac{a}{$ $" + "{" * 900 + "}" * 900 + r"$ $\rule{9000em}{9000em}$ "
    r"$\text{<img src=x onerror=alert(1)>}$ $\url{javascript:alert(1)}$"
)


def shown(page, selector: str = ""):
    return page.locator(f"[data-pair]:not([hidden]) {selector}")


def open_pair(page, comparison) -> None:
    page.goto(f"{DESK}{comparison.pk}/")
    shown(page).wait_for()


@pytest.mark.parametrize(("width", "theme"), [("wide", "light"), ("tablet", "dark"), ("small", "dark")])
def test_formulas_tables_and_code_are_set_and_code_can_be_copied(
    page_for, ann, project, make_comparison, axe, fits, shoot, width, theme
):
    pair = make_comparison(project, (RICH, "Hey, I got $x^2$ flowers."))
    page = page_for(ann, width=width, theme=theme)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    open_pair(page, pair)
    shown(page, "[data-rendered] .katex").nth(2).wait_for(state="attached")
    assert shown(page, "[data-rendered] .katex").count() == 3
    assert shown(page, "[data-rendered] .katex-display").count() == 1
    family = shown(page, "[data-rendered] .katex").first.evaluate("one => getComputedStyle(one).fontFamily")
    assert "KaTeX_Main" in family
    assert shown(page, "[data-rendered] td").all_inner_texts() == ["Apple", "1"]
    shown(page, "[data-rendered] copy-button button").click()
    assert page.evaluate("() => navigator.clipboard.readText()") == "def f(x):\n    return x\n"
    shown(page, "[data-rendered] copy-button").get_by_text("Copied", exact=True).wait_for()
    shown(page, "[data-rendered] copy-button").get_by_text("Copy", exact=True).wait_for()
    axe(page)
    fits(page)
    shoot(page, f"annotate-rich-{width}-{theme}")
    page.keyboard.press("d")
    assert shown(page, "[data-diff] mark").count() > 0
    axe(page)


def test_a_hostile_formula_shows_its_source_and_does_nothing(page_for, ann, project, make_comparison, shoot):
    pair = make_comparison(project, (HOSTILE, HOSTILE + " $z$"))
    page = page_for(ann)
    open_pair(page, pair)
    shown(page, "[data-rendered] .math-error").first.wait_for()
    assert shown(page, ".pair-sides").locator("a, img, script, iframe, [class*=html]:not(.katex-html)").count() == 0
    text = shown(page, ".side-a [data-rendered]").inner_text()
    for source in ("\\frac{a}{", "\\href{javascript:alert(1)}{x}", "\\htmlStyle{color: red}{y}"):
        assert source in text, "what is not set is not hidden"
    box, side = shown(page, ".side-a .katex").last.bounding_box(), shown(page, ".side-a").bounding_box()
    assert side["width"] < 800
    assert box["height"] < 1200, "sizes are bounded"
    shoot(page, "annotate-hostile-formula")


def test_without_scripts_a_formula_is_read_as_it_was_written(page_for, ann, project, make_comparison):
    make_comparison(project, (RICH, "Hey."))
    page = page_for(ann, scripts=False)
    page.goto(DESK)
    assert "\\(O(n)\\)" in shown(page, ".pair-sides").inner_text()


def test_both_sides_turn_plain_together(page_for, ann, project, make_comparison):
    pair = make_comparison(project, ("word " * 4_100, "**Dear** Maria."))
    page = page_for(ann)
    open_pair(page, pair)
    assert shown(page, "[data-rendered] > pre.raw").count() == 2
    assert shown(page, "strong").count() == 0


def test_the_diff_is_of_the_rendered_words(page_for, ann, project, make_comparison):
    pair = make_comparison(
        project, ("**Dear** Maria, I write $x$ and `code`.", "Dear Maria, you write $x$ and $y$ and `code`.")
    )
    page = page_for(ann)
    open_pair(page, pair)
    shown(page, "[data-rendered] .katex").first.wait_for()
    page.keyboard.press("d")
    marks = shown(page, "[data-diff] mark").all_inner_texts()
    assert sorted(marks) == ["I", "and", "you"]
    assert shown(page, "[data-diff] .is-differing").count() == 1, "one formula is missing on the other side"
    assert shown(page, "[data-diff] strong").inner_text() == "Dear", "no Markdown source"


def test_a_diff_of_long_texts_that_share_little_is_quick_and_marks_something(page_for, ann, project, make_comparison):
    left = " ".join(f"a{n}" for n in range(3000))
    right = " ".join(f"b{n}" for n in range(3000)) + " a7"
    pair = make_comparison(
        project, (left[:19_000].replace(" a1", "\na1"), right[:18_000].replace(" b1", "\nb1") + " a7")
    )
    page = page_for(ann)
    open_pair(page, pair)
    page.keyboard.press("d")
    assert shown(page, ".side-b [data-diff] mark").count() > 0
    assert "a7" not in shown(page, ".side-b [data-diff] mark").all_inner_texts()


def test_every_paragraph_reads_in_its_own_direction(page_for, ann, project, make_comparison):
    pair = make_comparison(project, ("שלום מריה\n\nDear Maria\n\n```\nx = 1\n```", "メアリーさん、ありがとう。"))
    page = page_for(ann)
    open_pair(page, pair)
    side = page.locator("[data-pair]:not([hidden]) .side").filter(has_text="Dear").locator("[data-rendered]")
    hebrew, english = (side.locator("p").nth(n) for n in (0, 1))
    edge = """p => {
      const range = document.createRange();
      range.selectNodeContents(p);
      const [text, box] = [range.getBoundingClientRect(), p.getBoundingClientRect()];
      return [text.left - box.left, box.right - text.right];
    }"""
    left, right = hebrew.evaluate(edge)
    assert right < left, "Hebrew begins at the right"
    left, right = english.evaluate(edge)
    assert left < right, "English beside it at the left"


@pytest.mark.parametrize("path", ["samples/", "comparisons/{pk}/", "review/{pk}/"])
def test_line_breaks_and_formulas_stand_on_the_other_pages_too(
    page_for, bob, project, make_comparison, make_judge, make_verdict, path
):
    pair = make_comparison(project, (RICH, "Hey.\nBye."))
    project.label_judge = "judge"
    project.save()
    make_verdict(pair, "first", judge=make_judge(project, "judge"))
    page = page_for(bob)
    page.goto("/p/letters-test/" + path.format(pk=pair.pk))
    page.locator(".katex").first.wait_for(state="attached")
    text = page.locator(".model-text", has_text="Hey.").first.inner_text()
    assert "Hey.\nBye." in text
