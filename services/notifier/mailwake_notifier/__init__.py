"""The notifier: events in, alerts out."""
