"""HTML: links where a browser sees links, and in no other place."""

from __future__ import annotations

import html
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwake.hypertext import attribute_value, scan, visible_text


def values(text: str) -> list[str]:
    return [anchor.value for anchor in scan(text).anchors]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('<a href="http://x/">', ["http://x/"]),
        ("<a href='http://x/'>", ["http://x/"]),
        ("<a href=http://x/>", ["http://x/"]),
        ("<A HREF = http://x/ >", ["http://x/"]),
        ('<a\nhref\t=\r\n"http://x/"\f>', ["http://x/"]),
        ('<a/href="http://x/"/>', ["http://x/"]),
        ('<a class="b"href="http://x/"id=c>', ["http://x/"]),
        ('<area shape=rect href="http://x/">', ["http://x/"]),
        ('<a title="a > b" href="http://x/">', ["http://x/"]),
        ('<a title=\'"\' href="http://x/">', ["http://x/"]),
        ('<a href="http://x/" href="http://y/">', ["http://x/"]),
        ('<a href="http://x/\'">', ["http://x/'"]),
        ('<a =href="http://x/">', []),
        ('<a data-href="http://x/">', []),
        ("<a href>", []),
        ("<a href=>", []),
        ('<a href="">', []),
        ('<a name="x">', []),
        ('<link href="http://x/">', []),
        ('<abbr href="http://x/">', []),
        ('<v:rect href="http://x/">', []),
        ('< a href="http://x/">', []),
        ('<!-- <a href="http://x/"> -->', []),
        ('<!--><a href="http://x/">-->', ["http://x/"]),
        ('<!---><a href="http://x/">-->', ["http://x/"]),
        ('<!-- --!><a href="http://x/">', ["http://x/"]),
        ('<!--[if mso]><a href="http://x/"><![endif]-->', ["http://x/"]),
        ("<!--[if mso]><v:rect href='http://x/'>y</v:rect><![endif]-->", ["http://x/"]),
        ("<!--[if gte mso 9]><p><V:RoundRect HREF=http://x/ fill=1><![endif]-->", ["http://x/"]),
        ("<!--[if mso]><area href=http://x/><link href=http://y/><![endif]-->", ["http://x/"]),
        ("<!--[if mso]><style>a{<a href=http://x/>}</style><a href=http://y/>-->", ["http://y/"]),
        ("<!--[if mso]><style><a href=http://x/>--><a href=http://y/>", ["http://y/"]),
        ("<!--[if mso]><a href=http://x/-->y><a href=http://z/>", ["http://z/"]),
        ("<!--[if mso]><w:anchorlock/><![if x]><a href=http://x/>--></a>", ["http://x/"]),
        ("<!--[if mso <a href=http://x/> -->", []),
        ("<!-- [if mso]><a href=http://x/> -->", []),
        ("<!--[if mso]><o:p href=http://x/></o:p><vrect href=http://y/> -->", []),
        ('<!--[if !mso]><!--><a href="http://x/"><!--<![endif]-->', ["http://x/"]),
        ('<![if !mso]><a href="http://x/"><![endif]>', ["http://x/"]),
        ('<? <a href="http://x/">', []),
        ('</ <a href="http://x/">', []),
        ('</é <a href="http://x/">', []),
        ('</><a href="http://x/">', ["http://x/"]),
        ('<script>"<a href=http://x/>"</script>', []),
        ('<SCRIPT>"<a href=http://x/>"</sCript ><a href="http://y/">', ["http://y/"]),
        ('<style></styles><a href="http://x/"></style>', []),
        ('<title><a href="http://x/"></title>', []),
        ('<textarea><a href="http://x/"></textarea >', []),
        ('<textarea><a href="http://x/">', []),
        ('<plaintext></plaintext><a href="http://x/">', []),
        ('<a href="http://x/"', []),
        ('<a href="http://x/>', []),
        ('<p title="<a href=http://x/>">', []),
        ("1 < 2 <a href=http://x/>", ["http://x/"]),
    ],
)
def test_links_are_where_a_browser_sees_them(text: str, found: list[str]) -> None:
    assert values(text) == found


def test_the_position_is_that_of_the_value_alone() -> None:
    text = '<p><a id=1 href="http://x/?a&amp;b">t</a>'
    anchor = scan(text).anchors[0]
    assert text[anchor.start : anchor.end] == "http://x/?a&amp;b"
    assert anchor.value == "http://x/?a&b"


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("?a=1&amp;b=2", "?a=1&b=2"),
        ("?a=1&b=2", "?a=1&b=2"),
        ("?a=1&amp;amp;b=2", "?a=1&amp;b=2"),
        ("?a=1&copy=2", "?a=1&copy=2"),
        ("?a=1&copy;=2", "?a=1©=2"),
        ("?a=1&copy", "?a=1©"),
        ("?a=1&copyright=2", "?a=1&copyright=2"),
        ("?a&notit;", "?a&notit;"),
        ("?a&notin;b", "?a∉b"),
        ("?a&amp=1", "?a&amp=1"),
        ("?a&amp-1", "?a&-1"),
        ("&#x26;&#38;&#38", "&&&"),
        ("&#xZ;&", "&#xZ;&"),
    ],
)
def test_references_are_resolved_once_by_the_rules_of_attributes(raw: str, value: str) -> None:
    assert attribute_value(raw) == value


@given(st.text())
def test_what_is_escaped_comes_back(text: str) -> None:
    assert attribute_value(html.escape(text)) == text


@pytest.mark.parametrize(
    ("text", "bottom"),
    [
        ("<body>x</body></html>", "</body></html>"),
        ("<body>x</BODY ></html>", "</BODY ></html>"),
        ("<body>x<!--</body>--></body>y", "</body>y"),
        ("<body>x<script>'</body>'</script>", ""),
        ("<p>x</p>\r\n", "\r\n"),
        ("x</body>y</body>z", "</body>z"),
        ("<p>x<!-- never closed </body>", "<!-- never closed </body>"),
        ("<p>x<style>a{}</body>", "<style>a{}</body>"),
        ('<p>x<a href="torn', '<a href="torn'),
        ("a<blockquote><body>q</body></blockquote>", ""),
        ("a<blockquote><body>q</body></blockquote></body>", "</body>"),
        ("a<blockquote>q<blockquote>r</body>", "<blockquote>q<blockquote>r</body>"),
        ("</blockquote>a</body>", "</body>"),
        ("", ""),
    ],
)
def test_the_bottom_is_before_the_last_end_of_the_body(text: str, bottom: str) -> None:
    assert text[scan(text).bottom :] == bottom


@pytest.mark.parametrize(
    "begin",
    [
        '<div class="gmail_quote gmail_quote_container">',
        '<blockquote class="gmail_quote" style="margin:0">',
        '<div id="appendonsend">',
        "<div id=divRplyFwdMsg dir=ltr>",
        "<div style='border:none;border-top:solid #E1E1E1 1.0pt;padding:3.0pt 0in 0in 0in'>",
        '<div style="border:none;border-top:solid #B5C4DF 1.0pt">',
        '<blockquote type="cite">',
        "<BLOCKQUOTE type='cite'>",
        '<div id="ydp1yahoo_quoted_1" class="ydp1yahoo_quoted">',
        '<div class="moz-cite-prefix">',
        '<div class="protonmail_quote">',
    ],
)
def test_the_bottom_is_before_what_a_reply_quotes(begin: str) -> None:
    own, quoted = "<html><body><div>mine<br></div>", f"{begin}theirs</div><p>x</body></html>"
    found = scan(own + quoted)
    assert (own + quoted)[found.bottom :] == quoted
    assert found.top == own.index("<div>")
    assert scan(quoted).bottom == 0
    assert scan(f"{own}</body>{quoted}").bottom == len(own), "the body ends before"


@pytest.mark.parametrize(
    "begin",
    [
        '<div class="quote">',
        "gmail_quote",
        "<!-- <div class='gmail_quote'> -->",
        "<style>.gmail_quote{}</style>",
        '<div style="border-top:solid #E1E2E3 1pt">',
        '<p class="gmail_quote">',
        '<blockquote class="praise">good</blockquote>',
    ],
)
def test_what_is_no_quote_moves_no_bottom(begin: str) -> None:
    text = f"<body>mine{begin}mine</div></body>"
    assert text[scan(text).bottom :] == "</body>"


@pytest.mark.parametrize(
    ("text", "top"),
    [
        ("<!doctype html><html><head><title>x</title></head><body id=b>y", "y"),
        ("<!doctype html><html><head></head>y", "y"),
        ("<!doctype html><html>y", "y"),
        ("<!DOCTYPE html>y", "y"),
        ("y", "y"),
        ("<body>y<blockquote><body>z", "y<blockquote><body>z"),
    ],
)
def test_the_top_is_behind_the_begin_of_the_body(text: str, top: str) -> None:
    assert text[scan(text).top :] == top


@pytest.mark.parametrize(
    "attribute",
    [
        "data-skip-click",
        "ses:no-track",
        "clicktracking=off",
        'clicktracking="OFF"',
        'data-msys-clicktrack="0"',
        "data-mailwake='off'",
    ],
)
def test_a_link_can_opt_out(attribute: str) -> None:
    assert scan(f"<a {attribute} href=http://x/>").anchors[0].opted_out
    assert scan(f"<a href=http://x/ {attribute}>").anchors[0].opted_out
    assert not scan(f"<a href=http://x/ x{attribute}>").anchors[0].opted_out


@pytest.mark.parametrize(
    ("text", "without"),
    [
        ('<a data-mailwake="off" href=x>', "<a href=x>"),
        ("<a href=x data-mailwake=off>", "<a href=x>"),
        ('<a title="t"data-mailwake="off"href=x>', '<a title="t"href=x>'),
        ('<a data-mailwake="off"href=x>', "<a href=x>"),
        ("<a href=x data-mailwake=on>", "<a href=x data-mailwake=on>"),
    ],
)
def test_our_own_mark_can_be_taken_off(text: str, without: str) -> None:
    for start, end in reversed(scan(text).marks):
        text = text[:start] + text[end:]
    assert text == without


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("<b>Go</b>\n  now&nbsp;&amp; here", "Go now & here"),
        ('<img src="x" alt="A &quot;picture&quot;">', 'A "picture"'),
        ("<!-- no --> yes", "yes"),
        ("x" * 300, "x" * 256),
        ("&#xD800;", "\ufffd"),
        ("", ""),
    ],
)
def test_the_text_of_a_link_is_what_its_reader_sees(source: str, text: str) -> None:
    assert visible_text(source) == text
    assert scan(f"<a href=x>{source}</a>tail").anchors[0].text == text


def test_in_a_conditional_comment_a_link_has_its_text_and_its_mark() -> None:
    text = (
        "<!--[if mso]><v:rect href=http://x/><center>Buy &amp; go</center></v:rect>"
        "<a href=http://y/ data-mailwake=off>y</a><![endif]--><a href=http://z/>z</a>"
    )
    found = scan(text)
    assert [(a.value, a.text, a.opted_out) for a in found.anchors] == [
        ("http://x/", "Buy & go", False),
        ("http://y/", "y", True),
        ("http://z/", "z", False),
    ]
    assert [text[slice(*mark)] for mark in found.marks] == [" data-mailwake=off"]


def test_the_text_ends_where_the_link_ends() -> None:
    texts = [
        a.text for a in scan("<a href=x>one<a href=y>two</a>no<area href=z alt=three>").anchors
    ]
    assert texts == ["one", "two", "three"]


MARKUP = [
    "<!--[if mso]>",
    "<v:rect ",
    "<div class=gmail_quote>",
    "<a ",
    "href=",
    "<!--",
    "-->",
    "</body>",
    "<body>",
    "<title>",
    "</title>",
    "<script",
]
PIECES = [*MARKUP, *"<>/='\"!-?ax \n", "</script>", "blockquote", "&amp", "http://", "\ud800", "é"]
soup = st.lists(st.sampled_from(PIECES), max_size=60).map("".join)


@given(soup)
def test_any_soup_is_read(text: str) -> None:
    found = scan(text)
    assert 0 <= found.top <= len(text)
    assert 0 <= found.bottom <= len(text)
    spans = sorted([(a.start, a.end) for a in found.anchors] + found.marks)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))


@given(soup)
def test_links_in_front_are_not_lost_for_what_comes_behind(text: str) -> None:
    assert values("<p><a href=http://first/>x</a>" + text)[:1] == ["http://first/"]


CONDITIONS = ["<!--[if mso]>", "<!--[if mso]>href<a b='\">", "<!--[if mso]><a href=x><!-- -->"]
REPLIES = ["<div class=gmail_quote ", "gmail_quote<div>", "<div id='"]
REPEATED = [
    *CONDITIONS,
    *REPLIES,
    "<",
    "<a ",
    '<a b="',
    " =",
    "<!--",
    "<title>",
    "<div>",
    "<p         ",
    "&amp",
    "<!x>",
]
LINKED = ["<a href=x><!--", '<a href="x">', "<a href=x>- -- <!", "<a href=x><i alt='"]


@pytest.mark.timeout(120)  # a second, where it would be hours if its square counted
@pytest.mark.parametrize("piece", [*REPEATED, *LINKED, "</", "<blockquote>"])
def test_hostile_text_takes_linear_time(piece: str) -> None:
    scan(("<a href='" if piece == "&amp" else "") + piece * (1_000_000 // len(piece)))
