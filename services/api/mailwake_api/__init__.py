"""The HTTP API: preferences, policies, consents, sends, alerts, and the withdrawal page."""
