"""Mailwake: tells the sender of an e-mail when it was opened and which links were clicked."""

__version__ = "0.1.0"
