"""What a hit is by itself, row for row of the facts; what is wrong in a rule set is said."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import pytest

from mailwake.contracts import Verdict
from mailwake.errors import ConfigError
from mailwake.reasons import SENTENCES, Reason, sentences
from mailwake.settings import read_settings
from mailwake.track import Track
from mailwake_enricher.rules import packaged_rules, parse_rules, read_rules, rules_in_force
from mailwake_enricher.signs import EARLY, HOSTED_PAIR, SOON, WIDE, signals_of
from tests.unit.enricher.values import BROWSER, NOW, hit, run, send

CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0"
)
GMAIL = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
RULES = (files("mailwake_enricher") / "rules" / "0001.toml").read_text("utf-8")

Row = tuple[dict[str, Any], Verdict, list[Reason]]


def from_each(asns: Iterable[int], verdict: Verdict, *reasons: Reason, **shown: Any) -> list[Row]:
    return [(shown | {"asn": asn}, verdict, [*reasons]) for asn in asns]


SCANNERS = (
    *(22843, 26211, 52129, 13916, 30031, 42427, 39588, 60492, 136792, 15324, 16417, 30238),
    *(30215, 40427, 16880, 44444, 13448),
)
DATA_CENTRES = (
    *(16509, 14618, 396982, 31898, 36351, 45102, 37963, 132203, 45090, 14061, 63949, 24940),
    *(212317, 213230, 16276, 12876, 51167, 40021, 197540, 202053, 25697),
)

ROWS: list[Row] = [
    ({"agent": BROWSER}, "human", ["no_machine_sign"]),
    (
        {"agent": "Mozilla/5.0 (Windows NT 5.1) Firefox/11.0 (via ggpht.com GoogleImageProxy)"},
        "proxy",
        ["gmail_proxy"],
    ),
    ({"agent": "YahooMailProxy; https://help.yahoo.com/kb/x.html"}, "proxy", ["yahoo_proxy"]),
    ({"agent": "Mozilla/5.0"}, "prefetch", ["apple_prefetch"]),
    ({"agent": "Mozilla/5.0", "referer": "https://m.example"}, "human", ["no_machine_sign"]),
    (
        {"agent": "Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 (KHTML, like Gecko)"},
        "human",
        ["no_machine_sign"],
    ),
    ({"agent": CHROME}, "prefetch", ["edge12_prefetch"]),
    ({"purpose": "prefetch;prerender"}, "prefetch", ["purpose_header"]),
    ({"purpose": "Preview"}, "prefetch", ["purpose_header"]),
    ({"purpose": "prerender"}, "prefetch", ["purpose_header"]),
    ({"purpose": "navigate"}, "human", ["no_machine_sign"]),
    ({"method": "HEAD"}, "scanner", ["head_request"]),
    ({"agent": ""}, "scanner", ["no_agent"]),
    ({"agent": "  "}, "scanner", ["no_agent"]),
    ({"agent": "BarracudaCentral/1.0"}, "scanner", ["scanner_agent"]),
    ({"agent": "Microsoft Office Existence Discovery"}, "scanner", ["scanner_agent"]),
    ({"agent": "Mozilla/5.0 Mimecast URL Protect"}, "scanner", ["scanner_agent"]),
    ({"agent": "Proofpoint URL Defense"}, "scanner", ["scanner_agent"]),
    ({"agent": "curl/8.9.1"}, "scanner", ["script_agent"]),
    ({"agent": "python-requests/2.32"}, "scanner", ["script_agent"]),
    (
        {"agent": "Mozilla/5.0 (X11) HeadlessChrome/126.0 Safari/537.36"},
        "scanner",
        ["script_agent"],
    ),
    (
        {"agent": "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0; Pro)"},
        "human",
        ["outlook"],
    ),
    ({"agent": "Mozilla/4.0 (compatible; ms-office; MSOffice 16)"}, "human", ["outlook"]),
    ({"agent": "Microsoft Office Word 2014"}, "human", ["outlook"]),
    ({"agent": "", "network": "", "mode": "anonymous"}, "human", ["agent_withheld"]),
    (
        {"agent": "", "mode": "anonymous", "method": "HEAD"},
        "scanner",
        ["head_request", "agent_withheld"],
    ),
    ({"agent": "curl/8", "purpose": "prefetch"}, "scanner", ["script_agent", "purpose_header"]),
    # Previewers in chats, robots.
    ({"agent": "Slackbot-LinkExpanding 1.0", "link": 0}, "scanner", ["preview_agent"]),
    ({"agent": "WhatsApp/2.23.20.0", "link": 0}, "scanner", ["preview_agent"]),
    ({"agent": "TelegramBot (like TwitterBot)", "link": 0}, "scanner", ["preview_agent"]),
    ({"agent": "facebookexternalhit/1.1", "link": 0}, "scanner", ["preview_agent"]),
    ({"agent": "Mozilla/5.0 SkypeUriPreview Preview/0.5", "link": 0}, "scanner", ["preview_agent"]),
    ({"agent": "Mozilla/5.0 (compatible; Googlebot/2.1)"}, "scanner", ["robot_agent"]),
    (
        {"agent": "Mozilla/5.0 (Linux; Android 9; CUBOT/X18) Chrome/90"},
        "human",
        ["no_machine_sign"],
    ),
    # Mail programs: persons.
    ({"agent": "Mozilla/5.0 Gecko/20100101 Thunderbird/140.0"}, "human", ["mail_program"]),
    ({"agent": "Outlook-iOS/723.4.2 (iPhone; iOS 18.6)"}, "human", ["mail_program"]),
    ({"agent": "MacOutlook/16.100.25071321"}, "human", ["outlook"]),
    # Networks that scan: opens and clicks.
    *from_each(SCANNERS, "scanner", "scanner_network"),
    *from_each(SCANNERS, "scanner", "scanner_network", link=0),
    # Microsoft: clicks only; Outlook on the web fetches images from there.
    *from_each((8075, 8068, 8069, 8070), "scanner", "scanner_network", link=0),
    ({"asn": 8075}, "proxy", ["outlook_proxy"]),
    # Probable only: people browse from there.
    *from_each((22616, 62044, 53813), "human", "no_machine_sign", "maybe_scanner_network", link=0),
    # Data centres, likewise: by themselves they decide nothing.
    *from_each(DATA_CENTRES, "human", "no_machine_sign", "hosting_network"),
    *from_each(DATA_CENTRES, "human", "no_machine_sign", "hosting_network", link=0),
    (
        {"agent": "Microsoft Outlook 16.0", "asn": 16509},
        "human",
        ["outlook", "hosting_network"],
    ),
    ({"agent": "curl/8.9.1", "asn": 16509}, "scanner", ["script_agent", "hosting_network"]),
    # Apple, Yahoo, Google.
    ({"agent": "Mozilla/5.0", "asn": 714}, "prefetch", ["apple_prefetch", "apple_network"]),
    ({"asn": 6185}, "human", ["no_machine_sign", "apple_network"]),
    ({"asn": 10229}, "proxy", ["yahoo_network"]),
    ({"asn": 34010, "link": 0}, "human", ["no_machine_sign"]),
    ({"agent": GMAIL, "asn": 15169}, "proxy", ["gmail_proxy", "google_network"]),
    ({"agent": CHROME, "asn": 15169}, "prefetch", ["edge12_prefetch", "google_network"]),
    ({"asn": 64500, "link": 0}, "human", ["no_machine_sign"]),
    # A certain network outweighs a mail program's name.
    (
        {"agent": "Microsoft Outlook 16.0", "asn": 15324},
        "scanner",
        ["scanner_network", "outlook"],
    ),
]


@pytest.mark.parametrize(("shown", "verdict", "reasons"), ROWS)
def test_a_hit_is_told_by_what_it_shows(
    shown: dict[str, Any], verdict: Verdict, reasons: list[Reason]
) -> None:
    event = run(Track(), send(sent_at=NOW - 10**7), hit(**shown)).events[0]
    assert (event.verdict, event.reasons) == (verdict, reasons)
    assert event.rules_version == packaged_rules().version == 1
    assert event.score >= 50


def test_every_signal_that_a_hit_shows_has_a_row() -> None:
    told = {reason for _, _, reasons in ROWS for reason in reasons}
    beside = {*signals_of(-1), *signals_of(~WIDE), "implied_by_click"}
    assert told | beside == set(get_args(Reason))


@pytest.mark.parametrize(
    ("agent", "family"),
    [
        (BROWSER, "firefox linux"),
        ("Mozilla/5.0 (iPhone) Version/18.6 Mobile/15E148 Safari/604.1", "safari iphone"),
        ("Mozilla/5.0 (Windows NT 10.0) Chrome/139.0 Safari/537.36 Edg/139.0", "edge windows"),
        ("Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 (KHTML, like Gecko)", "webkit macintosh"),
        ("Mozilla/5.0 (Windows; rv:140.0) Gecko/20100101 Thunderbird/140.1.0", "thunderbird"),
        ("Mozilla/4.0 (compatible; ms-office; MSOffice 16)", "outlook"),
        ("something else", "other"),
        ("", ""),
    ],
)
def test_families_of_agents(agent: str, family: str) -> None:
    assert packaged_rules().family(agent) == family


def test_a_verdict_is_as_sure_as_its_signals() -> None:
    judge = packaged_rules().judge
    assert (judge((), 0).verdict, judge((), 0).score) == ("human", 100)
    maybe = judge(("maybe_scanner_network",), 0)
    assert (maybe.verdict, maybe.score) == ("human", 70)
    both = judge(("maybe_scanner_network", "soon_after_send"), 0)
    assert (both.verdict, both.score) == ("scanner", 50)
    assert both.reasons == ("maybe_scanner_network", "soon_after_send")
    # A data centre needs one more sign; a mail program's name outweighs both.
    assert judge(("hosting_network",), 0).verdict == "human"
    for bit in (SOON, EARLY, HOSTED_PAIR):
        assert judge(("hosting_network",), bit).verdict == "scanner"
        assert judge(("hosting_network", "mail_program"), bit).verdict == "human"
    # Of the signs of a burst the heaviest counts, all are told.
    burst = judge(("read_before", "hit_burst", "link_burst", "network_burst"), 0)
    assert (burst.verdict, burst.score) == ("human", 70)
    assert burst.reasons == ("read_before", "link_burst", "network_burst", "hit_burst")


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        ("version = 1", "", "version"),
        ("version = 1", "version = 0", "`int` >= 1"),
        ("threshold = 50", "threshold = '50'", "$.threshold"),
        ('["self", "scanner", "prefetch", "proxy"]', '["self", "scanner"]', "each once"),
        ("head_request = { scanner = 120 }", "hed_request = { scanner = 120 }", "hed_request"),
        ("head_request = { scanner = 120 }", "head_request = { robot = 120 }", "robot"),
        ("head_request = { scanner = 120 }", "head_request = { scanner = 1200 }", "200"),
        ("apple_network = { prefetch = 30 }", "", "apple_network"),
        ("asns = [714, 6185]", "asns = [714, 8075]", "8075 twice"),
        ('has = ["thunderbird/"]', 'has = ["Thunderbird/"]', "lower case"),
        ('has = ["thunderbird/"]', "", "neither `has` nor `is`"),
        ('has = ["thunderbird/"]', "has = []", "length >= 1"),
        ("links = 3 ", "links = 1 ", "$.burst.links"),
        ("soon_s = 60", "sooner_s = 60", "sooner_s"),
        ("version = 1", "version = = 1", "line 5"),
    ],
)
def test_what_is_wrong_in_a_rule_set_is_said(old: str, new: str, wrong: str) -> None:
    assert old in RULES
    with pytest.raises(ConfigError) as error:
        parse_rules(RULES.replace(old, new, 1).encode(), "mine.toml")
    assert wrong in str(error.value)
    assert str(error.value).startswith("the rules mine.toml cannot be used: ")
    assert "\n" not in str(error.value)


def test_a_rule_set_of_ones_own(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(RULES.replace("version = 1", "version = 7", 1).replace("= 120 }", "= 10 }"))
    rules = read_rules(mine)
    assert (rules.version, rules.judge(("head_request",), 0).verdict) == (7, "human")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_rules(tmp_path / "none.toml")


def test_the_rules_in_force_are_those_of_the_settings(tmp_path: Path) -> None:
    assert rules_in_force(read_settings({})) is packaged_rules()
    mine = tmp_path / "mine.toml"
    mine.write_text(RULES.replace("version = 1", "version = 7", 1))
    named = read_settings({"MAILWAKE_RULES": str(mine)})
    assert rules_in_force(named).version == 7
    mine.write_text(RULES.replace("threshold = ", "threshold = 1", 1))
    for wrong in ("$.threshold", ""):
        with pytest.raises(ConfigError) as error:
            rules_in_force(named)
        line = str(error.value)
        assert str(mine) in line
        assert wrong in line
        assert line.endswith("unset MAILWAKE_RULES to judge by the rules in the package")
        assert "\n" not in line
        mine.unlink(missing_ok=True)


def test_every_reason_has_a_sentence_and_a_line_in_the_docs() -> None:
    assert set(SENTENCES) == set(get_args(Reason))
    page = (Path(__file__).parents[3] / "docs" / "verdicts.md").read_text("utf-8")
    for reason, sentence in SENTENCES.items():
        assert f"| `{reason}` | {sentence} |" in page
        assert not sentence.endswith(".")
    assert sentences(["apple_prefetch", "of_later"]) == [SENTENCES["apple_prefetch"]]
