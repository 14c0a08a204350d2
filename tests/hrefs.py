"""Forms of links as they stand in mail, each as the start tag it stands in.

Their hosts are of `example` domains: a browser of the tests finds all of them on this machine.
"""

from __future__ import annotations

import base64
import quopri

TRACKED = [
    # plain
    '<a href="http://a.example/">',
    '<a href="http://a.example">',
    '<a href="https://a.example/secure?x=1">',
    '<a href="http://a.example/path/to/page.html">',
    '<a href="http://a.example/?x=1&y=2">',
    '<a href="http://a.example?no=slash">',
    '<a href="http://a.example#only-fragment">',
    '<a href="http://a.example/#!/hash/bang?x=1">',
    '<a href="http://a.example/p?x=1#frag?ment#twice">',
    '<a href="http://a.example/?">',
    '<a href="http://a.example/#">',
    '<a href="http://a.example/?#">',
    '<a href="http://a.example/p?&&a&=b&c==&">',
    # character references
    '<a href="http://a.example/?x=1&amp;y=2">',
    '<a href="http://a.example/?x=1&amp;amp;y=2">',
    '<a href="http://a.example/?x=1&AMP;y=2&AMPz=3">',
    '<a href="http://a.example/?x=1&amp=2">',
    '<a href="http://a.example/?x=1&amp">',
    '<a href="http://a.example/?x=1&ampy=2">',
    '<a href="http://a.example/?x=1&copy=2&reg=3&sect=4&times=5&lang=6">',
    '<a href="http://a.example/?x=1&copy;=2&sect;&euro;">',
    '<a href="http://a.example/?x=1&copy">',
    '<a href="http://a.example/?x=1&copy/2">',
    '<a href="http://a.example/?x=1&notit;&not;&notin;">',
    '<a href="http://a.example/?x=1&nosuch;&">',
    '<a href="http://a.example/&#47;&#x2F;&#X2f&#47">',
    '<a href="http://a.example/?e=&#128;&#x80;&#8364;">',
    '<a href="http://a.example/?e=&#x1F9F6;&#129526;">',
    '<a href="http://a.example/?q=&quot;x&quot;&apos;y&#39;&lt;z&gt;">',
    '<a href="http://a.example/?n=&NotEqualTilde;&fjlig;">',
    '<a href="&#104;ttp&colon;&sol;&sol;a.example/hidden">',
    '<a href="http://a.example/a&Tab;b&NewLine;c">',
    '<a href="http://a.example/?x=&#;&#x;&#xZ;">',
    # how the attribute is written
    "<a href='http://a.example/single?q=\"x\"'>",
    "<a href=http://a.example/unquoted/>",
    "<a href=http://a.example/unquoted?x=1&amp;y=2 class=b>",
    "<a href=http://a.example/it's>",
    '<A HREF="http://a.example/UPPER">',
    '<a hReF = "http://a.example/spaced">',
    '<a\nhref\n=\n"http://a.example/lines"\n>',
    '<a/href="http://a.example/slash">',
    '<a class="x"href="http://a.example/glued"id=y>',
    '<a title="a > b" href="http://a.example/after">',
    '<a data-href="http://no.example/" href="http://a.example/not-data">',
    '<a href="http://a.example/first" href="http://a.example/second">',
    '<a href="http://a.example/closed" />',
    # spaces and controls
    '<a href="  http://a.example/around  ">',
    '<a href="\n\thttp://a.example/lines-around\n">',
    '<a href="http://a.exa\nmple/broken\n/over/li\r\nnes">',
    '<a href="http://a.example/tab\there?t=\tx">',
    '<a href="h\nttp:/\n/a.example/scheme">',
    '<a href="&#1;&#31;http://a.example/controls&#2;">',
    '<a href="http://a.example/a b/c  d?e f#g h">',
    # odd characters
    '<a href="http://a.example/a,b;c=d:e@f!g$h*i(j)k\'l~m">',
    '<a href="http://a.example/[x]{y}|z^w`v">',
    '<a href="http://a.example/?[x]{y}|z^w`v\'u">',
    '<a href="http://a.example/#[x]{y}|z^w`v<u>">',
    '<a href="http://a.example/%20%2F%3f%c3%a9">',
    '<a href="http://a.example/%zz%4%?%zz%#%zz">',
    '<a href="http://a.example/100%">',
    '<a href="http://a.example/a\\b\\c?d\\e#f\\g">',
    '<a href="http://a.example\\back">',
    '<a href="http://a.example//double///slash//">',
    '<a href="http://a.example/./a/../b/.//c/%2e%2E/d/..">',
    '<a href="http://a.example/+plus+?q=a+b">',
    "<a href=\"http://a.example/?q='quoted'&r=(x)\">",
    # URLs in URLs
    '<a href="http://a.example/?to=http://b.example/x?y=1&z=2#f">',
    '<a href="http://a.example/go/https://b.example/x">',
    '<a href="http://a.example/?to=http%3A%2F%2Fb.example%2F%3Fx%3D1%26y%3D2">',
    '<a href="http://a.example/?list=http://b.example/,http://c.example/">',
    # hosts
    '<a href="HTTP://A.EXAMPLE/Scheme">',
    '<a href="hTTps://Www.A.Example/Mixed">',
    '<a href="http://a.example.:80/dot">',
    '<a href="http://a.example:8080/port">',
    '<a href="http://a.example:80/default-port">',
    '<a href="http://a.example:/no-port">',
    '<a href="http://a.example:00080/long-port">',
    '<a href="http://ben@a.example/user">',
    '<a href="http://ben:s%40cret@a.example/user">',
    '<a href="http://b.example@a.example/confusing">',
    '<a href="http://b@c@a.example/two">',
    '<a href="http://müller.example/straße?größe=ü#ä">',
    '<a href="http://straße.example/">',
    '<a href="http://xn--mller-kva.example/puny">',
    '<a href="http://M%C3%BCller.example/percent-host">',
    '<a href="http://%61.example/percent-letter">',
    '<a href="http://日本語.example/案内?q=検索#節">',
    '<a href="http://a。example/ideographic-stop">',
    '<a href="http://ａ.example/fullwidth">',
    '<a href="http://a_b.example/underscore">',
    '<a href="http://a--b.c-d.example/dashes">',
    '<a href="http://[2001:DB8::0:1]/ipv6">',
    '<a href="http://[::1]:8080/ipv6">',
    '<a href="http://192.0.2.7/ipv4">',
    '<a href="http://0xC0.0.2.7/hex">',
    '<a href="http://3221225991/number">',
    # characters beyond ASCII
    '<a href="http://a.example/é/e&#769;/\u00ad/\u200d">',
    '<a href="http://a.example/🧶?w=🧵#🪡">',
    '<a href="http://a.example/?q=Ä&amp;r=%C3%84">',
    '<a href="http://a.example/\u00a0nbsp\u2028line">',
    # long
    '<a href="http://a.example/' + "long/" * 780 + '?end">',
    '<a href="http://a.example/?q=' + "é" * 900 + '">',
    # what is no host at all still leads where it led: nowhere
    '<a href="http://a b.example/space-in-host">',
    '<a href="http://a.example:99999/port-too-high">',
    '<a href="http://[::1/torn">',
    '<a href="http://a^b.example/forbidden">',
    # other elements, and attributes that only look like opting out
    '<area href="http://a.example/area?x=1&amp;y=2">',
    '<a clicktracking="on" href="http://a.example/on">',
]
"""To be tracked."""

LEFT = [
    '<a href="">',
    "<a href>",
    "<a href=>",
    '<a href="#">',
    '<a href="#top">',
    '<a href="?x=1">',
    '<a href="/absolute/path">',
    '<a href="relative/path">',
    '<a href="../up">',
    '<a href="//b.example/protocol-relative">',
    '<a href="\\\\b.example\\backslashes">',
    '<a href="http:">',
    '<a href="http:/">',
    '<a href="http://">',
    '<a href="http:///">',
    '<a href="https:/b.example/one-slash">',
    '<a href="https:b.example/no-slash">',
    '<a href="http:relative">',
    '<a href="https:///b.example/three-slashes">',
    '<a href="http:\\\\b.example\\backslashes">',
    '<a href="http://?x">',
    '<a href="javascript:void(0)">',
    "<a href=\"JavaScript:location='http://b.example/'\">",
    '<a href="mailto:a@b.example?subject=http://b.example/">',
    '<a href="tel:+440000000041">',
    '<a href="sms:+440000000041?body=x">',
    '<a href="data:text/html,http://b.example/">',
    '<a href="cid:picture@b.example">',
    '<a href="ftp://b.example/file">',
    '<a href="file:///etc/hosts">',
    '<a href="webcal://b.example/feed.ics">',
    '<a href="x-http://b.example/">',
    '<a href="http//b.example/no-colon">',
    '<a href="httpx://b.example/">',
    '<a href="www.b.example">',
    '<a href="{{ link }}">',
    '<a href="http://b.example/*|UNSUB|*">',
    '<a href="http://b.example/unsubscribe/1">',
    '<a data-skip-click href="http://b.example/skip">',
    '<a ses:no-track href="http://b.example/ses">',
    '<a clicktracking=off href="http://b.example/off">',
    '<a data-msys-clicktrack="0" href="http://b.example/msys">',
    '<a href="http://b.example/nul&#0;">',
    '<a href="http://b.example/\x00nul">',
    '<a href="http://b.example/' + "x" * 4100 + '">',
    '<a href="http://a.example/form\ffeed">',
    '<a href="&nbsp;http://b.example/relative-in-truth">',
    '<a name="anchor">',
]
"""To be left as they are."""


def mail_of(tags: list[str], encoding: str = "base64", charset: str = "utf-8") -> bytes:
    """A mail with these start tags of links, each with a text.

    Characters that the charset does not have are written as numbers.
    """
    html = "<!doctype html><html><body>" + "".join(f"{tag}link</a>\n" for tag in tags)
    content = html.encode(charset, "xmlcharrefreplace")
    if encoding == "base64":
        content = base64.encodebytes(content)
    elif encoding == "quoted-printable":
        content = quopri.encodestring(content)
    head = f"From: ben@a.example\nTo: anna@b.example\nContent-Type: text/html; charset={charset}\n"
    return f"{head}Content-Transfer-Encoding: {encoding}\n\n".encode() + content
