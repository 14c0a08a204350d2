"""Where the packages of the repository are."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "mailwake": ROOT / "mailwake",
    "mailwake_edge": ROOT / "services/edge/mailwake_edge",
    "mailwake_enricher": ROOT / "services/enricher/mailwake_enricher",
    "mailwake_notifier": ROOT / "services/notifier/mailwake_notifier",
    "mailwake_webhooks": ROOT / "services/webhooks/mailwake_webhooks",
    "mailwake_relay": ROOT / "services/relay/mailwake_relay",
    "mailwake_api": ROOT / "services/api/mailwake_api",
    "mailwake_local": ROOT / "deploy/local/mailwake_local",
}
