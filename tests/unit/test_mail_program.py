"""What a mail program finds in a mail."""

from email.message import EmailMessage

from mailwake_local.mail_program import references


def test_images_and_links_of_the_html_part_in_their_order() -> None:
    message = EmailMessage()
    message["Subject"] = "Grüße"
    message.set_content("see http://plain.example/")
    message.add_alternative(
        '<p>Grüße <a href="http://a.example/?x=1&amp;y=2">one</a><A HREF=http://b.example/>two</a>'
        '<a name="none">three</a><img alt="no source"><img src="http://c.example/p.gif"/></p>',
        subtype="html",
        cte="quoted-printable",
    )
    images, links = references(message.as_bytes())
    assert images == ["http://c.example/p.gif"]
    assert links == ["http://a.example/?x=1&y=2", "http://b.example/"]


def test_a_mail_without_html_has_none() -> None:
    message = EmailMessage()
    message.set_content("see http://plain.example/")
    assert references(message.as_bytes()) == ([], [])
