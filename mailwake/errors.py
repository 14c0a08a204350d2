"""Errors that are meant to be read by people.

Every error a user can cause derives from `MailwakeError`; the command line prints its text as one
line and ends with `exit_code`, never with a traceback. The text says what was wrong, where, and
what to do.
"""


class MailwakeError(Exception):
    """Something a person can put right; its text is one clear line.

    Attributes:
        exit_code: the status a command ends with.
    """

    exit_code = 1


class ConfigError(MailwakeError):
    """A setting, a key file or a schema file is wrong; nothing was started."""

    exit_code = 2


class UnavailableError(MailwakeError):
    """A part that is needed (Kafka, ClickHouse, a port, a download) cannot be had now."""

    exit_code = 3


class DeniedError(UnavailableError):
    """Kafka or ClickHouse answers, and refuses: a password, a certificate or a right is wrong."""
