"""The pages as they are asked: who may see what, what a form needs, what every answer says."""

from __future__ import annotations

import re

import httpx
import pytest

from mailwake.contracts import DailyDigest, QuietHours
from mailwake_api.web.composing import told_of
from mailwake_api.web.pages import PAGES
from mailwake_api.web.sessions import Sessions
from mailwake_api.web.signing_in import after
from tests.unit.api.memory import Memory
from tests.unit.api.web.signed_in import DANA, HERE, token

ANY = "0" * 32
EMPTY = {"next": ""}


def addresses() -> list[tuple[str, str]]:
    return [(page.method, re.sub(r"\{\w+\}", ANY, page.path)) for page in PAGES if not page.anybody]


@pytest.mark.parametrize(("method", "path"), addresses())
async def test_without_a_session_there_is_nothing(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await client.request(method, path, headers=HERE)
    if method == "GET":
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/signin?next=")
    else:
        assert answer.status_code == 401
    assert not answer.content


async def test_a_part_without_a_session_is_no_redirect(client: httpx.AsyncClient) -> None:
    assert (await client.get("/mail", headers={"X-Part": "main"})).status_code == 401


@pytest.mark.parametrize(("method", "path"), [each for each in addresses() if each[0] == "POST"])
async def test_a_form_needs_our_origin_and_its_token(
    dana: httpx.AsyncClient, method: str, path: str
) -> None:
    form = {"token": await token(dana)}
    for headers, fields in (
        ({}, form),
        ({"Origin": "https://evil.example"}, form),
        (HERE | {"Sec-Fetch-Site": "cross-site"}, form),
        (HERE, {"other": "x"}),
        (HERE, {"token": "0" * 32}),
    ):
        answer = await dana.request(method, path, headers=headers, data=fields)
        assert answer.status_code == 403, (path, headers, fields)
    assert (await dana.get("/preferences")).status_code == 200


async def test_signing_in_needs_our_origin_too(memory: Memory, client: httpx.AsyncClient) -> None:
    link = Sessions(memory.keyring).link(DANA)
    answer = await client.post(
        f"/signin/{link}", headers={"Origin": "https://evil.example"}, data=EMPTY
    )
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


async def test_the_cookie_is_kept_from_scripts_and_other_sites(
    memory: Memory, client: httpx.AsyncClient
) -> None:
    link = Sessions(memory.keyring).link(DANA)
    answer = await client.post(f"/signin/{link}", headers=HERE, data=EMPTY)
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "secure" not in cookie  # over http a browser would not take it
    assert link not in answer.text


async def test_a_bearer_token_signs_in_a_user_and_no_platform(
    memory: Memory, client: httpx.AsyncClient
) -> None:
    for role, status in (("user", 303), ("admin", 303), ("platform", 403)):
        bearer = memory.authorization("dana", role)["Authorization"].removeprefix("Bearer ")  # type: ignore[arg-type]
        answer = await client.post("/signin", headers=HERE, data={"bearer": bearer})
        assert answer.status_code == status
        assert ("set-cookie" in answer.headers) is (status == 303)
    answer = await client.post("/signin", headers=HERE, data={"bearer": "nonsense"})
    assert answer.status_code == 401
    assert "nonsense" not in answer.text


async def test_a_link_is_used_once(memory: Memory, client: httpx.AsyncClient) -> None:
    link = Sessions(memory.keyring).link(DANA)
    for _ in range(2):
        page = await client.get(f"/signin/{link}")
        assert page.status_code == 200
        assert "Sign in as dana" in page.text
    assert (await client.post(f"/signin/{link}", headers=HERE, data=EMPTY)).status_code == 303
    client.cookies.clear()
    assert (await client.post(f"/signin/{link}", headers=HERE, data=EMPTY)).status_code == 403
    assert "used already" in (await client.get(f"/signin/{link}")).text


async def test_signing_out_ends_it(dana: httpx.AsyncClient) -> None:
    form = {"token": await token(dana)}
    answer = await dana.post("/signout", headers=HERE, data=form)
    assert answer.headers["location"] == "/signin"
    assert (await dana.get("/mail")).status_code == 303


async def test_every_page_says_that_nothing_from_elsewhere_may_run(
    dana: httpx.AsyncClient,
) -> None:
    for path in ("/mail", "/compose", "/preferences", "/reports", "/mail/" + ANY):
        answer = await dana.get(path)
        assert answer.status_code == (404 if ANY in path else 200), (path, answer.text)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        # What the policy would not let through does not stand there.
        assert not re.search(
            r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=|javascript:", answer.text
        )
        assert "http://" not in re.sub(r"xmlns=\"[^\"]*\"", "", answer.text)


async def test_files_are_named_after_their_content_and_kept(dana: httpx.AsyncClient) -> None:
    page = (await dana.get("/mail")).text
    files = set(re.findall(r'"(/static/[^"]+)"', page))
    assert {file.rpartition(".")[2] for file in files} == {"css", "js", "svg"}
    for file in files:
        answer = await dana.get(file)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        again = await dana.get(file, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    for wrong in ("/static/app.css", "/static/..%2fpages.py", "/static/none.js"):
        assert (await dana.get(wrong)).status_code == 404


async def test_clickhouse_away_is_a_page_that_says_so(
    memory: Memory, dana: httpx.AsyncClient
) -> None:
    memory.reader.away = True
    answer = await dana.get("/mail")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "ClickHouse is away" in answer.text
    assert (await dana.get("/preferences")).status_code == 200


async def test_every_query_is_bound_to_who_is_signed_in(
    memory: Memory, dana: httpx.AsyncClient
) -> None:
    memory.reader.asked.clear()
    for path in ("/mail?q=x&show=opened", "/reports", f"/mail/{ANY}", f"/contacts/{ANY}"):
        await dana.get(path + ("&" if "?" in path else "?") + "user=ben&tenant=other")
    assert memory.reader.asked
    assert {values["tenant"] for _, values in memory.reader.asked} == {"acme"}
    assert {values.get("user", "dana") for _, values in memory.reader.asked} == {"dana"}


async def test_preferences_are_set_and_shown(memory: Memory, dana: httpx.AsyncClient) -> None:
    form = {"token": await token(dana), "clicks": "on"}
    answer = await dana.post("/preferences", headers=HERE, data=form)
    assert answer.headers["location"] == "/preferences?told=saved"
    known = memory.register.preference("acme", "dana")
    assert (known.opens, known.clicks, known.notifications) == (False, True, False)
    page = (await dana.get(answer.headers["location"])).text
    assert "Saved." in page
    assert re.search(r'name="clicks" checked', page)
    assert not re.search(r'name="opens" checked', page)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, "Say from which one address"),
        ({"sender": "dana@acme.example"}, "Say to whom"),
        ({"sender": "dana@acme.example", "to": "nobody"}, "“nobody” is no e-mail address"),
        ({"sender": "dana@acme.example", "to": "a@b.example"}, "Write something"),
        ({"sender": "a@b.example, c@d.example", "to": "a@b.example"}, "Say from which one"),
    ],
)
async def test_what_is_wrong_in_a_mail_is_said_and_nothing_is_lost(
    memory: Memory, dana: httpx.AsyncClient, fields: dict[str, str], told: str
) -> None:
    form = {"token": await token(dana), "id": "x", "subject": '"><b>Hi', "own": "on"} | fields
    answer = await dana.post("/compose", headers=HERE, data=form)
    assert answer.status_code == 422
    assert told in answer.text
    assert 'value="&#34;&gt;&lt;b&gt;Hi"' in answer.text
    assert re.search(r'name="own" checked', answer.text)
    assert memory.connection.sends == []


@pytest.mark.parametrize(
    ("wanted", "goes"),
    [
        ("/mail?q=x", "/mail?q=x"),
        ("/reports", "/reports"),
        ("", "/mail"),
        ("https://evil.example/", "/mail"),
        ("//evil.example/", "/mail"),
        ("/\\evil.example", "/mail"),
        ("/signin", "/mail"),
        ("javascript:alert(1)", "/mail"),
        ("/mail\r\nSet-Cookie: a=b", "/mail"),
    ],
)
def test_signing_in_leads_to_our_pages_only(wanted: str, goes: str) -> None:
    assert after(wanted) == goes


@pytest.mark.parametrize(
    "path",
    [
        "/mail?cursor=%00",
        "/mail?cursor=x",
        "/bell?cursor=x",
        "/bell?cursor=1-2",
        "/bell/stream?last=x",
    ],
)
async def test_what_does_not_fit_is_a_page_and_no_fault(dana: httpx.AsyncClient, path: str) -> None:
    answer = await dana.get(path)
    assert answer.status_code == 422, answer.text


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"told": "sent"}, "Sent."),
        ({"told": "sent", "opens": "denied"}, "a recipient does not agree"),
        ({"told": "sent", "clicks": "unknown", "left": "2"}, "for 2 of the recipients."),
        ({"told": "Your password, please"}, ""),
        ({"told": "sent", "opens": "<b>", "left": "a lot"}, "Sent."),
    ],
)
def test_a_link_puts_no_words_into_a_page(asked: dict[str, str], told: str) -> None:
    said = told_of(asked)
    assert told in said if told else said == ""
    assert "<" not in said


async def saved(dana: httpx.AsyncClient, **fields: str) -> httpx.Response:
    form = {"token": await token(dana), "zone": "Europe/Berlin"} | fields
    return await dana.post("/preferences", headers=HERE, data=form)


QUIET = {"quiet": "on", "start": "21:30", "end": "06:00", "day1": "on", "day7": "on"}
DAILY = {"digest": "on", "address": "Dana <dana@acme.example>", "hour": "18"}


async def test_quiet_hours_and_the_daily_mail_are_saved(
    memory: Memory, dana: httpx.AsyncClient
) -> None:
    answer = await saved(dana, **QUIET, **DAILY)
    assert answer.headers["location"] == "/preferences?told=saved"
    kept = memory.register.preference("acme", "dana")
    assert kept.quiet == QuietHours("Europe/Berlin", "21:30", "06:00", [1, 7])
    assert kept.daily_digest == DailyDigest("dana@acme.example", "Europe/Berlin", 18)
    page = (await dana.get("/preferences")).text
    assert re.search(r'name="start" type="time" value="21:30"', page)
    assert re.findall(r'name="day(\d)" checked', page) == ["1", "7"]
    assert re.search(r'<option value="18" selected>18:00', page)
    assert re.search(r'<option value="Europe/Berlin" selected', page)
    assert "dana@acme.example" in page
    # All days are none in particular; without its switch neither is there.
    await saved(dana, **QUIET | {f"day{day}": "on" for day in range(1, 8)})
    kept = memory.register.preference("acme", "dana")
    assert kept.quiet == QuietHours("Europe/Berlin", "21:30", "06:00")
    assert kept.daily_digest is None
    await saved(dana)
    assert memory.register.preference("acme", "dana").quiet is None


async def test_a_zone_that_is_not_listed_stays(memory: Memory, dana: httpx.AsyncClient) -> None:
    await saved(dana, **QUIET, zone="US/Pacific")
    page = (await dana.get("/preferences")).text
    assert re.findall(r'<option value="([^"]+)" selected>[A-Z]', page) == ["US/Pacific"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        (QUIET | {"start": "25:00"}, "start"),
        (QUIET | {"end": ""}, "end"),
        ({"quiet": "on", "start": "21:00", "end": "06:00"}, "days"),
        (QUIET | {"zone": "Europe/Nowhere"}, "zone"),
        (DAILY | {"address": "dana"}, "address"),
        (DAILY | {"address": "dana@acme.example, eve@acme.example"}, "address"),
        (DAILY | {"address": ""}, "address"),
        (DAILY | {"hour": "24"}, "hour"),
    ],
)
async def test_what_is_wrong_is_said_where_it_is(
    memory: Memory, dana: httpx.AsyncClient, fields: dict[str, str], field: str
) -> None:
    answer = await saved(dana, **fields)
    assert answer.status_code == 422
    assert f'id="wrong-{field}"' in answer.text
    assert "Not saved." in answer.text
    for name in ("quiet", "digest"):
        checked = re.search(rf'name="{name}" checked', answer.text)
        assert bool(checked) is (name in fields)
    assert memory.register.preference("acme", "dana").at == 0
