"""The web pages for senders, rendered from what the API's own handlers say; and the templates of
all pages, also of those for recipients."""
