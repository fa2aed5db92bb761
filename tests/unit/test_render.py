"""Templates: read, kept, prepared once, rendered per contact."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jinja2
import pytest

from mailerd.errors import RenderFailed, TemplateBroken
from mailerd.render import Template, TemplateFolder, TemplateSource
from mailerd.render.css import inline_css

ITEMS = [{"name": "A & B", "vip": True}, {"name": "<C>", "vip": False}]


def source(**files: str) -> TemplateSource:
    named = {name.replace("_", "."): text for name, text in files.items()}
    return TemplateSource("welcome", {"subject.txt": "Hi", **named})


def html(body: str, **variables: Any) -> str:
    made = Template(source(body_html=body, body_txt="text")).render(variables).html
    assert made is not None
    return made


def text(body: str, **variables: Any) -> str:
    return Template(source(body_html=body)).render(variables).text


class Styles(HTMLParser):
    """The style attribute of each element that has an id."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.of: dict[str, str] = {}
        self.feed(markup)

    def handle_starttag(self, _tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if found.get("id"):
            self.of[str(found["id"])] = str(found.get("style", ""))


# Reading and keeping


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_text(content)


def test_a_template_is_the_same_bytes_wherever_it_is_read(tmp_path: Path) -> None:
    """Packed bytes and digest depend on the template's text alone, not on line ends or other files."""
    write(tmp_path / "one" / "welcome", subject_txt="Hi", body_txt="a\nb")
    write(tmp_path / "two" / "welcome", body_txt="a\r\nb", subject_txt="\ufeffHi", notes_md="no part of it")
    (tmp_path / "two" / "welcome" / ".hidden.txt").write_text("no part of it either")

    one = TemplateFolder(tmp_path / "one").load("welcome")
    two = TemplateFolder(tmp_path / "two").load("welcome")

    assert one.pack() == two.pack()
    assert one.digest == two.digest
    assert TemplateSource.unpack(one.pack()) == one


def test_every_change_changes_the_digest(tmp_path: Path) -> None:
    """An edited template is another one."""
    assert source(body_txt="a").digest != source(body_txt="b").digest


@pytest.mark.parametrize("template_id", ["missing", "../secret", "..", "", "a/b", "/etc"])
def test_a_template_that_is_not_in_the_folder_is_missing(tmp_path: Path, template_id: str) -> None:
    """Neither a missing name nor one that climbs out of the folder finds a template."""
    write(tmp_path / "secret", subject_txt="Hi", body_txt="x")
    write(tmp_path / "templates" / "a" / "b", subject_txt="Hi", body_txt="x")

    with pytest.raises(TemplateBroken, match="no template"):
        TemplateFolder(tmp_path / "templates").load(template_id)


def test_links_may_stay_within_the_folder_only(tmp_path: Path) -> None:
    """A file shared between templates by a link is fine; one linked from elsewhere is refused by name."""
    (tmp_path / "secret.txt").write_text("root:x:0")
    write(tmp_path / "templates" / "shared", frame_html="<p>{{ name }}</p>")
    write(tmp_path / "templates" / "welcome", subject_txt="Hi")
    (tmp_path / "templates" / "welcome" / "body.html").symlink_to("../shared/frame.html")
    folder = TemplateFolder(tmp_path / "templates")

    assert folder.load("welcome").files["body.html"] == "<p>{{ name }}</p>"
    (tmp_path / "templates" / "welcome" / "body.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(TemplateBroken, match=r"welcome/body\.txt is a link out of"):
        folder.load("welcome")


def test_files_that_are_no_text_are_named(tmp_path: Path) -> None:
    """A file that is not UTF-8, a dangling link and an endless file are faults of the template."""
    write(tmp_path / "latin", subject_txt="Hi")
    (tmp_path / "latin" / "body.txt").write_bytes(b"Gr\xfc\xdfe")
    write(tmp_path / "dangling", subject_txt="Hi")
    (tmp_path / "dangling" / "body.txt").symlink_to("nowhere.txt")
    write(tmp_path / "huge", subject_txt="Hi", body_txt="x" * 1_100_000)
    folder = TemplateFolder(tmp_path)

    with pytest.raises(TemplateBroken, match=r"latin/body\.txt is not UTF-8: byte 2"):
        folder.load("latin")
    with pytest.raises(TemplateBroken, match="dangling cannot be read"):
        folder.load("dangling")
    with pytest.raises(TemplateBroken, match="more than 1 MB"):
        folder.load("huge")


# Compiling


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"body_html": "ok\n{{ name"}, r"welcome/body\.html line 2"),
        ({"body_txt": "a\n\n{% if x %}"}, r"welcome/body\.txt line 3"),
        ({"body_txt": "{{ x|nosuchfilter }}"}, r"welcome/body\.txt line 1: .*nosuchfilter"),
        ({"body_txt": "x", "extra_html": "{% for %}"}, r"welcome/extra\.html line 1"),
        ({"body_txt": "{% include 'missing.txt' %}"}, r"welcome/body\.txt needs missing\.txt"),
        ({}, r"needs subject\.txt, and body"),
        ({"body_txt": "x", "mail_toml": "from = "}, r"welcome/mail\.toml: "),
        ({"body_txt": "x", "mail_toml": "form = 'a@b.example'"}, r"welcome/mail\.toml: unknown key form"),
        ({"body_txt": "x", "mail_toml": "from = 3"}, r"welcome/mail\.toml: from must be a string"),
        ({"body_txt": "x", "mail_toml": "from = 'nobody'"}, r"welcome/mail\.toml: from: "),
        ({"body_txt": "x", "mail_toml": "unknown = 'maybe'"}, r"welcome/mail\.toml: unknown must be"),
        ({"body_txt": "x", "mail_toml": "[headers]\nX-A = 1"}, r"welcome/mail\.toml: headers: "),
        ({"body_txt": "x", "mail_toml": "[headers]\nBcc = 'a@b.c'"}, r"welcome/mail\.toml: headers: Bcc"),
        ({"body_txt": "x", "mail_toml": "[headers]\nTo = '{{ a }}'"}, r"welcome/mail\.toml: headers: To"),
        ({"body_txt": "x", "mail_toml": "[headers]\nX-A = '{{'"}, r"welcome/mail\.toml headers\.X-A line 1"),
    ],
)  # fmt: skip
def test_a_broken_template_says_where(files: dict[str, str], says: str) -> None:
    """Whatever is wrong with a template itself shows when it is compiled, with the file and the line."""
    with pytest.raises(TemplateBroken, match=says):
        Template(source(**files))


def test_the_settings_come_from_mail_toml() -> None:
    """From, Reply-To, headers and the policy for lost answers are the template's own."""
    toml = 'from = "N <n@b.example>"\nreply_to = "r@b.example"\nunknown = "resend"\n[headers]\nX-A = "1"\n'
    settings = Template(source(body_txt="x", mail_toml=toml)).settings

    assert (settings.from_, settings.reply_to) == ("N <n@b.example>", "r@b.example")
    assert (settings.unknown, dict(settings.headers)) == ("resend", {"X-A": "1"})


def test_headers_may_differ_from_contact_to_contact() -> None:
    """A header of mail.toml with tags is rendered for each contact; one that comes out empty is none."""
    toml = (
        '[headers]\nX-A = "1"\nList-Unsubscribe = "<https://e.net/u/{{ token }}>"\n'
        'X-Vip = "{% if vip %}yes{% endif %}"\n'
    )
    template = Template(source(body_txt="x", mail_toml=toml))

    assert dict(template.settings.headers) == {"X-A": "1"}
    assert template.render({"token": "a&b", "vip": True}).headers == {
        "List-Unsubscribe": "<https://e.net/u/a&b>",
        "X-Vip": "yes",
    }
    assert template.render({"token": "c", "vip": False}).headers["X-Vip"] == ""


@pytest.mark.parametrize(
    ("token", "says"),
    [
        (None, r"welcome/mail\.toml headers\.List-Unsubscribe line 1: 'token' is undefined"),
        ("x" * 990, r"welcome/mail\.toml headers\.List-Unsubscribe: it is too long for one line"),
    ],
)
def test_a_header_that_cannot_be_made_fails_for_this_contact(token: str | None, says: str) -> None:
    """A missing variable or an endless one in a header is that contact's failure, and names the header."""
    toml = '[headers]\nList-Unsubscribe = "<https://e.net/u/{{ token }}>"\n'
    template = Template(source(body_txt="x", mail_toml=toml))

    with pytest.raises(RenderFailed, match=says):
        template.render({"token": token} if token else {})


# Rendering


def test_html_is_escaped_and_text_is_not() -> None:
    """A name with markup in it is harmless in HTML and readable in text and subject."""
    files = {"subject_txt": "{{ name }}", "body_html": "<p>{{ name }}</p>", "body_txt": "{{ name }}"}
    rendered = Template(source(**files)).render({"name": "<b>&"})

    assert rendered.html == "<p>&lt;b&gt;&amp;</p>"
    assert (rendered.subject, rendered.text) == ("<b>&", "<b>&")


def test_the_subject_is_one_trimmed_line() -> None:
    """Newlines of the file or of a value become spaces."""
    template = Template(source(subject_txt="\n Hello\n {{ name }}\n", body_txt="x"))

    assert template.render({"name": "A\r\nBcc: b@c.example"}).subject == "Hello A Bcc: b@c.example"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("a\n{{ missing }}", r"welcome/body\.txt line 2: 'missing' is undefined"),
        ("{{ name.missing }}", r"welcome/body\.txt line 1: "),
        ("a\n\n{{ 1 // zero }}", r"welcome/body\.txt line 3: "),
        ("{{ name.__class__.__mro__ }}", r"welcome/body\.txt line 1: "),
        ("{% set x = items.append(1) %}", r"welcome/body\.txt line 1: .*(unsafe|safely)"),
        ("{% for i in range(10**9) %}x{% endfor %}", r"welcome/body\.txt line 1: .*[Rr]ange"),
        ("{% for i in range(99999) %}{{ long }}{% endfor %}", "more than 10 MB"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", r"welcome/body\.txt line 1: "),
    ],
)
def test_a_template_that_raises_fails_for_this_contact_and_says_where(body: str, says: str) -> None:
    """What one contact's values do to a template is that contact's failure, with the file and the line."""
    template = Template(source(body_txt=body))

    with pytest.raises(RenderFailed, match=says):
        template.render({"name": "A", "zero": 0, "items": [], "long": "x" * 1000})


def test_an_included_file_is_named_where_it_fails() -> None:
    """The place of a failure is the file that holds the line, not the one that includes it."""
    files = {"body_txt": "{% include 'part.txt' %}", "part_txt": "\n{{ missing }}"}

    with pytest.raises(RenderFailed, match=r"welcome/part\.txt line 2"):
        Template(source(**files)).render({})


def test_an_empty_subject_fails() -> None:
    """A mail without a subject is a mistake, told per contact."""
    with pytest.raises(RenderFailed, match="subject is empty"):
        Template(source(subject_txt="{{ title }}\n", body_txt="x")).render({"title": " "})


def test_null_is_nothing() -> None:
    """A column that is NULL renders as nothing, never as None."""
    assert Template(source(body_txt="Dear {{ name }},")).render({"name": None}).text == "Dear ,"


def test_a_failed_contact_leaves_no_trace_in_the_next() -> None:
    """A template that raised for one contact renders the next one as ever."""
    template = Template(source(body_txt="{{ name.upper() }}"))

    with pytest.raises(RenderFailed):
        template.render({"name": 7})
    assert template.render({"name": "a"}).text == "A"


# CSS

STYLE = "<style>.a { color: red } td { margin: 0 } p { padding: {{ gap }}px } .vip { top: 1px }</style>"


def test_css_is_written_into_the_elements_and_stays_in_the_head() -> None:
    """Declarations reach the elements, also with values that a tag gives; the style element stays."""
    made = html(STYLE + '<p id="p" class="a">x</p>', gap=4)

    assert Styles(made).of["p"].replace(" ", "") == "padding:4px;color:red"
    assert "td { margin: 0 }" in made


def test_an_elements_own_style_keeps_the_upper_hand() -> None:
    """Inlined declarations stand before the author's own, whichever quotes those have."""
    made = html(STYLE + """<p id=p class=a style='color:"blue"'>x</p>""", gap=4)

    assert Styles(made).of["p"].replace(" ", "") == 'padding:4px;color:red;color:"blue"'


def test_a_loop_stays_in_its_table() -> None:
    """A for between table and row renders every row inside the table, each with its style."""
    row = "<tr><td id='{{ loop.index }}'>{{ item.name }}</td></tr>"
    made = html(f"{STYLE}<table>{{% for item in items %}}{row}{{% endfor %}}</table>", items=ITEMS, gap=1)

    rows = made[made.index("<table>") : made.index("</table>")]
    assert rows.count("<tr>") == 2
    assert rows.index("A &amp; B") < rows.index("&lt;C&gt;")
    assert {style.replace(" ", "") for style in Styles(made).of.values()} == {"margin:0"}


def test_comparisons_and_braces_in_tags_survive() -> None:
    """``<`` and ``>`` in a tag, quotes and dictionaries are Jinja's, and are left alone."""
    body = """{% if a < b and b > a %}<p title='{{ {"x": {"y": "1 > 0"}}["x"]["y"] }}'>less</p>{% endif %}"""

    assert html(STYLE + body, a=1, b=2, gap=1).endswith("title='1 &gt; 0'>less</p>")


def test_conditional_attributes_are_neither_lost_nor_taken_for_granted() -> None:
    """Both branches of a conditional class survive, and neither one's declarations are inlined."""
    row = "<td id='{{ loop.index }}' {% if i.vip %}class='vip'{% else %}class='a'{% endif %}>"
    body = "{% for i in items %}" + row + "{% endfor %}"
    made = html(STYLE + body, items=ITEMS, gap=1)
    inside = html(STYLE + "<b id='x' class='{% if no %} vip {% endif %}'>", no=False, gap=1)

    assert "class='vip'" in made
    assert "class='a'" in made
    assert all("color" not in style and "top" not in style for style in Styles(made).of.values())
    assert Styles(inside).of["x"] == ""


def test_a_conditional_style_is_the_only_one() -> None:
    """An element whose own style depends on a tag never gets a second style attribute."""
    body = "<p {% if warn %}style='color:blue'{% endif %}>x</p><p style='{% if warn %}top:0{% endif %}'>y</p>"
    made = html(STYLE + body, warn=True, gap=1)

    assert "<p style='color:blue'>" in made
    assert 'style="padding: 1px; top:0"' in made


def test_branches_that_break_the_nesting_keep_it() -> None:
    """Tags that open in one branch and close elsewhere come out as written."""
    body = "<table><tr>{% if x %}<td id='a'>1{% else %}<td>2</td><td>3{% endif %}</td></tr></table>"

    assert html(STYLE + body, x=False, gap=1).endswith('<td style="margin: 0">3</td></tr></table>')


def test_a_template_without_css_is_not_touched() -> None:
    """Without a style element the HTML is byte for byte what its author wrote."""
    body = "<P CLASS=x>a<br>b < c & d <table><b>{{ 1 }}</b></table>\n"

    assert html(body) == body.replace("{{ 1 }}", "1")


def test_a_style_sheet_elsewhere_is_not_fetched(tmp_path: Path) -> None:
    """A linked style sheet stays a link; neither the network nor the disk is asked for it."""
    (tmp_path / "x.css").write_text("p { color: red }")
    link = f'<link rel="stylesheet" href="{tmp_path}/x.css">'

    made = inline_css(f"{link}<style>b {{ top: 0 }}</style><p>x</p>", jinja2.Environment(autoescape=True))

    assert made == f"{link}<style>b {{ top: 0 }}</style><p>x</p>"


# Derived text


def test_a_derived_text_reads_like_the_html() -> None:
    """Paragraphs, lists, links, line breaks and tables become text, the head does not."""
    body = """
    <html><head><title>T</title><style>p { color: red }</style></head><body>
      <h1>Hello   {{ name }}</h1>
      <p>One<br>two &amp; three &lt;3</p>
      <ul>
        {% for item in items %}
        <li>{{ item.name }} <a href="https://x.example/?a={{ loop.index }}&amp;b=1">look</a></li>
        {% endfor %}
      </ul>
      <table>{% for item in items %}
        <tr><td>{{ item.name }}</td><td>{{ loop.index }}</td></tr>
      {% endfor %}</table>
      <p><a href="https://x.example">https://x.example</a> <a href="mailto:a@b.example">a@b.example</a></p>
    </body></html>"""

    assert text(body, name="<Ann>", items=ITEMS) == (
        "Hello <Ann>\n\nOne\ntwo & three <3\n\n"
        "* A & B look (https://x.example/?a=1&b=1)\n* <C> look (https://x.example/?a=2&b=1)\n\n"
        "A & B 1\n<C> 2\n\nhttps://x.example a@b.example\n"
    )


def test_every_block_keeps_its_place_in_the_derived_text() -> None:
    """Blocks in comments, in the head and in attributes work on in the derived text."""
    body = (
        "<head>{% set who = 'you' %}<!-- {% if a %} --></head>"
        "<p class='{% if a %}x{% endif %}'>hi {{ who }}</p>"
        "<!-- {% else %} --><p>bye</p><!-- {% endif %} -->"
    )

    assert text(body, a=True) == "hi you\n"
    assert text(body, a=False) == "bye\n"


def test_what_the_html_hides_from_jinja_stays_hidden() -> None:
    """Escaped and raw braces are text in the derived text too."""
    assert text("<p>&#123;{ x }} {% raw %}{{ y }}{% endraw %}</p>") == "{{ x }} {{ y }}\n"


def test_frames_and_parts_work_in_both_kinds() -> None:
    """A body that extends a frame and includes a part does so in HTML and in the derived text."""
    files = {
        "frame_html": "<style>b { top: 0 }</style><title>{% block title %}{% endblock %}</title>"
        "<p>Dear {{ name }}</p>{% block main %}{% endblock %}",
        "part_html": "<p>part of {{ name }}</p>",
        "body_html": "{% extends 'frame.html' %}{% block title %}T{% endblock %}"
        "{% block main %}<b>x</b>{% include 'part.html' %}{% endblock %}",
    }
    rendered = Template(source(**files)).render({"name": "<A>"})

    assert rendered.text == "Dear <A>\n\nx\n\npart of <A>\n"
    assert "<title>T</title><p>Dear &lt;A&gt;</p><b>x</b><p>part of &lt;A&gt;</p>" in str(rendered.html)


def test_endless_blanks_of_a_contact_cost_no_endless_time() -> None:
    """A field of a megabyte of blanks renders at once (a careless pattern takes hours)."""
    assert text("<p>{{ name }}x</p><p>y</p>", name=" " * 1_000_000) == "x\n\ny\n"
