"""All pages, in one list."""

from __future__ import annotations

from mailwake_api.web import (
    composing,
    mailbox,
    posting,
    reporting,
    ringing,
    signing_in,
    switches,
)
from mailwake_api.web.visit import Page

PAGES: tuple[Page, ...] = (
    Page(method="GET", path="/", name="home", view=signing_in.home),
    Page(method="GET", path="/signin", name="signin", view=signing_in.show, anybody=True),
    Page(method="POST", path="/signin", name="signin", view=signing_in.with_token, anybody=True),
    Page(method="GET", path="/signin/{link}", name="link", view=signing_in.show_link, anybody=True),
    Page(
        method="POST", path="/signin/{link}", name="link", view=signing_in.with_link, anybody=True
    ),
    Page(method="POST", path="/signout", name="signout", view=signing_in.out),
    Page(method="GET", path="/mail", name="mail", view=mailbox.mail),
    Page(method="GET", path="/mail/{message_id}", name="message", view=mailbox.message),
    Page(method="POST", path="/mail/{message_id}/mute", name="mute", view=mailbox.mute),
    Page(method="GET", path="/contacts/{recipient_id}", name="contact", view=mailbox.contact),
    Page(method="GET", path="/compose", name="compose", view=composing.show),
    Page(method="POST", path="/compose", name="compose", view=composing.send),
    Page(method="GET", path="/bell", name="bell", view=ringing.show),
    Page(method="POST", path="/bell/read", name="bell_read", view=ringing.read),
    Page(method="GET", path="/bell/stream", name="bell_stream", view=ringing.listen),
    Page(method="GET", path="/preferences", name="preferences", view=switches.show),
    Page(method="POST", path="/preferences", name="preferences", view=switches.save),
    Page(method="GET", path="/webhooks", name="webhooks", view=posting.show_all),
    Page(method="POST", path="/webhooks", name="webhooks", view=posting.make),
    Page(method="GET", path="/webhooks/{webhook_id}", name="webhook", view=posting.show),
    Page(method="POST", path="/webhooks/{webhook_id}", name="webhook", view=posting.save),
    Page(method="POST", path="/webhooks/{webhook_id}/test", name="webhook_test", view=posting.test),
    Page(
        method="POST",
        path="/webhooks/{webhook_id}/secret",
        name="webhook_secret",
        view=posting.rotate,
    ),
    Page(
        method="POST",
        path="/webhooks/{webhook_id}/delete",
        name="webhook_delete",
        view=posting.delete,
    ),
    Page(
        method="POST",
        path="/webhooks/{webhook_id}/deliveries/{delivery_id}",
        name="webhook_again",
        view=posting.again,
    ),
    Page(method="GET", path="/reports", name="reports", view=reporting.show),
    Page(method="GET", path="/reports/{name}.csv", name="report_file", view=reporting.file),
)
