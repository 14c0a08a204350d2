"""The sender of webhooks: alerts in, signed messages to the addresses that want them out."""
