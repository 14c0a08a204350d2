"""The HTTP API: preferences, policies, consents, sends, alerts, and the page to withdraw consent."""
