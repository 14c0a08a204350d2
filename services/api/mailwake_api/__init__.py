"""The HTTP API: preferences, policies, consents, sends, and the page where consent is withdrawn."""
