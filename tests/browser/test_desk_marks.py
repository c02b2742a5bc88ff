"""Passages marked at the desk: by keyboard, mouse and touch, kept over a reload and an undo, found in any Markdown."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from apps.core.text import model_text_html, visible_controls
from apps.labels.models import Vote
from apps.projects.services import guideline_add

pytestmark = pytest.mark.django_db(transaction=True)
DESK = "/p/letters-test/annotate/"
FIRST = (
    "Dear Maria, **thank you** for the flowers. They are lovely.\n\n"
    "- I put them in *the blue* vase.\n- You are kind 🌷!"
)
SECOND = "Hey Maria. I got the flowers. See [my page](http://example.org/my/page) for more. Bye."
REASONS = ("warm", "cold")


@pytest.fixture
def comparisons(transactional_db, project, make_comparison):
    guideline_add(project=project, text="Prefer the warmer letter.", actor=None, reasons=REASONS, asks_marks=True)
    return [make_comparison(project, (FIRST, SECOND)) for _ in range(6)]


def saved(page, n: int) -> None:
    page.wait_for_function("n => document.querySelector('[data-progress]').textContent.startsWith(n)", arg=f"{n} ")
    page.wait_for_function("() => document.querySelector('[data-saved][data-state=saved]')?.textContent")


def marked(vote) -> list[tuple[str, str, str]]:
    texts = {"first": vote.comparison.first.text, "second": vote.comparison.second.text}
    return [(texts[one["answer"]][one["start"] : one["end"]], one["kind"], one["reason"]) for one in vote.marks]


def select(page, side: str, words: str) -> None:
    """Select words within one element of an answer, as a pointer does."""
    page.evaluate(
        """([side, words]) => {
          const root = document.querySelector(`[data-pair]:not([hidden]) .side-${side} [data-rendered]`);
          const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
          while (walker.nextNode()) {
            const at = walker.currentNode.data.indexOf(words);
            if (at < 0) continue;
            const range = document.createRange();
            range.setStart(walker.currentNode, at);
            range.setEnd(walker.currentNode, at + words.length);
            getSelection().removeAllRanges();
            getSelection().addRange(range);
            return;
          }
          throw new Error(words);
        }""",
        [side, words],
    )


def side_with(page, words: str) -> str:
    shown = page.locator("[data-pair]:not([hidden]) .side-a [data-rendered]").inner_text()
    return "a" if words in shown else "b"


def test_by_keyboard_alone(page_for, ann, bob, project, comparisons, axe, shoot):
    page = page_for(ann)
    page.goto(DESK)
    page.keyboard.press("g")
    page.keyboard.press("g")  # at the pair it opens and closes the guideline
    page.keyboard.press("g")
    bar, count = page.locator("[data-mark-bar]"), page.locator("[data-mark-count]").first
    page.keyboard.press("m")
    expect(bar).to_be_visible()
    if side_with(page, "thank you") == "b":
        page.keyboard.press("o")
    for key in ("g", "1", "ArrowDown", "b", "2", "2"):  # the second reason is taken away again
        page.keyboard.press(key)
    expect(count).to_have_text("2")
    shoot(page, "annotate-marks-keys")
    axe(page)
    page.keyboard.press("3")  # no reason of that number, and no answer
    for key in ("o", "ArrowDown", "ArrowRight", "Shift+ArrowRight", "b"):
        page.keyboard.press(key)
    assert Vote.objects.count() == 0
    page.keyboard.press("Escape")
    expect(bar).to_be_hidden()
    page.reload()
    expect(count).to_have_text("3")
    page.keyboard.press("3")
    saved(page, 1)
    said = marked(Vote.objects.get())
    assert said[:2] == [
        ("Dear Maria, **thank you** for the flowers.", "good", "warm"),
        ("They are lovely.", "bad", ""),
    ]
    assert said[2][1:] == ("bad", "")
    assert said[2][0] in SECOND
    assert len(said[2][0].split()) == 2
    page.keyboard.press("u")
    expect(count).to_have_text("3")
    page.keyboard.press("m")
    page.keyboard.press("Escape")
    page.locator("[data-pair]:not([hidden]) mark.passage", has_text="They are lovely").click()
    page.keyboard.press("g")
    page.keyboard.press("Escape")
    page.keyboard.press("4")
    saved(page, 1)
    last = Vote.objects.order_by("id").last()
    assert [one[1] for one in marked(last)] == ["good", "good", "bad"]
    assert Vote.objects.count() == 3
    page.keyboard.press("1")
    saved(page, 2)
    assert Vote.objects.order_by("id").last().marks == [], "the next pair has none"
    # the person who gave it, and a lead, see it in the answers
    own = page_for(ann)
    own.goto(f"{DESK}{last.comparison_id}/")
    expect(own.locator("mark.passage.is-good").first).to_be_visible()
    lead = page_for(bob)
    lead.goto(f"/p/letters-test/comparisons/{last.comparison_id}/")
    drawn = lead.locator("mark.passage.is-bad")
    expect(drawn.first).to_be_visible()
    assert "ann, marked bad" in drawn.first.get_attribute("title")
    axe(lead)
    shoot(lead, "comparison-marks")


@pytest.mark.parametrize(("width", "theme"), [("wide", "light"), ("tablet", "dark"), ("small", "light")])
def test_by_selecting_on_every_screen(page_for, ann, project, comparisons, axe, fits, shoot, width, theme):
    page = page_for(ann, width=width, theme=theme)
    page.goto(DESK)
    page.keyboard.press("g")
    bar = page.locator("[data-mark-bar]")
    side = side_with(page, "thank you")
    select(page, side, "thank you")
    expect(bar).to_be_visible()
    bar.get_by_role("button", name="Good").click()
    bar.get_by_role("button", name="cold").click()
    shoot(page, f"annotate-marks-{width}")
    fits(page)
    axe(page)
    box = bar.bounding_box()
    assert box["y"] >= 0
    assert box["y"] + box["height"] <= page.viewport_size["height"]
    for name in ("A is better", "B is better"):
        button = page.get_by_role("button", name=name, exact=True).bounding_box()
        assert button["y"] >= box["y"] + box["height"], "no answer is covered"
    bar.get_by_role("button", name="Close").click()
    select(page, "b" if side == "a" else "a", "r more. By")  # whole words are marked
    bar.get_by_role("button", name="Bad").click()
    bar.get_by_role("button", name="Close").click()
    expect(bar).to_be_hidden()
    shoot(page, f"annotate-marked-{width}")
    page.get_by_role("button", name="Tie", exact=True).click()
    saved(page, 1)
    assert marked(Vote.objects.get()) == [("thank you", "good", "cold"), ("for more. Bye", "bad", "")]


def test_offline_they_wait_with_the_answer(page_for, ann, project, comparisons):
    page = page_for(ann)
    page.goto(DESK)
    page.keyboard.press("g")
    page.wait_for_function("() => document.querySelectorAll('[data-pair]').length >= 3")
    page.context.set_offline(True)
    select(page, side_with(page, "lovely"), "lovely")
    expect(page.locator("[data-mark-bar]")).to_be_visible()
    for key in ("b", "Escape", "1"):
        page.keyboard.press(key)
    page.wait_for_function("() => document.querySelector('[data-saved][data-state=offline]')")
    page.context.set_offline(False)
    saved(page, 1)
    assert marked(Vote.objects.get()) == [("lovely", "bad", "")]


def test_a_guideline_that_does_not_ask_has_none(page_for, ann, project, make_comparison):
    guideline_add(project=project, text="Prefer the warmer letter.", actor=None)
    make_comparison(project, (FIRST, SECOND))
    page = page_for(ann)
    page.goto(DESK)
    page.keyboard.press("g")
    page.keyboard.press("m")
    select(page, side_with(page, "lovely"), "lovely")
    page.wait_for_timeout(400)
    expect(page.locator("[data-mark-bar]")).to_be_hidden()
    expect(page.locator("[data-act=mark]")).to_be_hidden()


# Texts, and words of their rendering that must be found in the source: at the first of `>…<` there.
HARD = [
    ("plain words\nover lines", "over lines", "plain words\n>over lines<"),
    ('see [the b](http://b.org/b?b=b "b") and b', "and b", 'see [the b](http://b.org/b?b=b "b") >and b<'),
    ("an ![alt b](b.png) image and b", "image and b", "an ![alt b](b.png) >image and b<"),
    ("[one][r] two\n\n[r]: http://two.org/two", "two", "[one][r] >two<"),
    ("```python\npython = 1\n```\nthen python", "python = 1", "```python\n>python = 1<"),
    ("1. one\n2. two\n\n| a | b |\n|---|---|\n| 1 | 2 |", "two", "1. one\n2. >two<"),
    ("Tom &amp; Jerry &lt;b&gt; ran", "Jerry <b> ran", "Tom &amp; >Jerry &lt;b&gt; ran<"),
    ("a \\*star\\* and snake_case", "*star*", "a \\>*star\\*<"),
    ("half**bold**word end", "bold", "half**>bold<"),
    ("# Head\n\nHead again", "again", "# Head\n\nHead >again<"),
    ("\n\nleading\tlines", "leading\tlines", "\n\n>leading\tlines<"),
    ("emoji 🌷🌷 tulips", "tulips", "emoji 🌷🌷 >tulips<"),
    ("with $x^2$ and x", "and x", "with $x^2$ >and x<"),
    ("> quoted `code b` b", "code b", "> quoted `>code b<"),
    ("hidden\u200bmark then", "then", "hidden⟦U+200B⟧mark >then<"),
    ("안녕하세요. **감사**합니다", "감사", "안녕하세요. **>감사<"),
]


def test_words_are_found_in_the_source_of_hard_markdown(page_for, ann, project, comparisons):
    page = page_for(ann)
    page.goto(DESK)
    for text, words, where in HARD:
        found = page.evaluate(
            """async ([html, source, words]) => {
              const { Passages } = await import("/static/js/passages.js");
              const root = document.createElement("div");
              root.innerHTML = html;
              document.body.append(root);
              const passages = new Passages(root, source);
              const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
              const range = document.createRange();
              let all = "", ends = [];
              while (walker.nextNode()) { all += walker.currentNode.data; ends.push([walker.currentNode, all.length]); }
              const at = all.lastIndexOf(words);
              if (at < 0) throw new Error(all);
              const place = (n) => {
                const [node, end] = ends.find(([, e]) => e >= n);
                return [node, n - end + node.length];
              };
              const begin = ends.find(([, e]) => e > at);
              range.setStart(begin[0], at - begin[1] + begin[0].length);
              range.setEnd(...place(at + words.length));
              const span = passages.passageOf(range);
              passages.draw([{ span, kind: "good", words: "" }]);
              const drawn = [...root.querySelectorAll("mark.passage")].map((one) => one.textContent).join("");
              passages.clear();
              const same = root.textContent === all && !root.querySelector("mark");
              root.remove();
              return { span, drawn, same };
            }""",
            [str(model_text_html(text)), visible_controls(text), words],
        )
        source, start = visible_controls(text), where.index(">", where.startswith("> "))
        bare = where[:start] + where[start + 1 :].removesuffix("<")
        wanted = [len(where[:start].encode("utf-16-le")) // 2, len(bare.encode("utf-16-le")) // 2]
        assert source.startswith(bare), (text, bare)
        assert (found["span"], found["same"]) == (wanted, True), (text, found)
        assert found["drawn"].split() == words.split(), text


def test_on_a_phone_a_button_marks_sentences_and_an_undo_after_a_reload_brings_all_back(
    page_for, ann, project, comparisons, axe, fits, shoot
):
    page = page_for(ann, width="small")
    page.goto(DESK)
    page.locator(".guide > summary").click()
    bar, mark = page.locator("[data-mark-bar]"), page.locator("[data-act=mark]")
    mark.click()
    expect(bar).to_be_visible()
    side = side_with(page, "thank you")
    body = page.locator(f"[data-pair]:not([hidden]) .side-{side} .side-body [data-rendered]")
    body.get_by_text("They are lovely").click(position={"x": 30, "y": 8})
    bar.get_by_role("button", name="Bad").click()
    bar.get_by_role("button", name="cold").click()
    shoot(page, "annotate-marks-phone")
    fits(page)
    axe(page)
    box = bar.bounding_box()
    for name in ("A is better", "B is better", "Tie", "Both bad"):
        button = page.get_by_role("button", name=name, exact=True).bounding_box()
        assert button["y"] >= box["y"] + box["height"], "no answer is covered"
    select(page, side, "kind")  # words, as a finger selects them
    expect(bar.get_by_role("button", name="Bad")).to_have_attribute("aria-pressed", "false")  # it is about them now
    bar.get_by_role("button", name="Good").click()
    expect(page.locator("[data-mark-count]").first).to_have_text("2")
    bar.get_by_role("button", name="Close").click()
    page.locator("[data-note] summary").click()
    page.locator("[data-note-text]").fill("because")
    page.locator(".chip-pick", has_text="warm").click()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Tie", exact=True).click()
    saved(page, 1)
    said = marked(Vote.objects.get())
    assert said[0][1:] == ("bad", "cold")
    assert said[0][0].endswith("They are lovely.") or said[0][0].startswith("Dear Maria")
    assert said[1] == ("kind", "good", "")
    page.reload()
    expect(page.locator("[data-mark-count]").first).to_have_text("")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("[data-mark-count]").first).to_have_text("2")
    expect(page.locator("[data-pair]:not([hidden]) mark.passage.is-good")).to_have_text("kind")
    assert page.locator("[data-note-text]").input_value() == "because"
    page.context.set_offline(True)
    page.get_by_role("button", name="Both bad", exact=True).click()
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("[data-mark-count]").first).to_have_text("2")
    page.get_by_role("button", name="A is better", exact=True).click()
    page.context.set_offline(False)
    saved(page, 1)
    last = Vote.objects.order_by("id").last()
    assert (marked(last), last.reasons, last.reason) == (said, ["warm"], "because")
