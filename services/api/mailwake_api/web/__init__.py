"""The web pages for senders: rendered here, from what the API's own handlers say."""
