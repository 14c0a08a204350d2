"""What `mailwake doctor` makes of what it finds."""

from pathlib import Path

import pytest

from mailwake.settings import read_settings
from mailwake_local import doctor
from mailwake_local.doctor import Finding, examine, main, parse_requirements


def test_requirements_by_extra() -> None:
    assert parse_requirements(
        [
            "msgspec>=0.19",
            "aiokafka[lz4]<0.15,>=0.14; extra == 'kafka'",
            'pyyaml>=6; extra == "kafka"',
            "mailwake[kafka]; extra == 'service'",
            "prometheus-client>=0.22 ; python_version > '3' and extra == 'service'",
        ]
    ) == {"kafka": ["aiokafka", "pyyaml"], "service": ["prometheus-client"]}


@pytest.fixture
def no_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unit tests open no sockets."""
    monkeypatch.setattr(doctor, "_is_free", lambda host, port: port != 9092)


@pytest.mark.usefixtures("no_ports")
def test_every_lack_comes_with_what_cures_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "chdb" else "1.0")
    settings = read_settings({"MAILWAKE_HOME": str(tmp_path), "KAFKA_JAVA": "no-such-java"})
    findings = {finding.what: finding for finding in examine(settings)}
    assert all(finding.good or finding.cure for finding in findings.values())
    assert findings["[local]"].found == "chdb missing"
    assert "pip install 'mailwake[local]'" in findings["[local]"].cure
    assert "KAFKA_JAVA" in findings["Java"].cure
    assert "MAILWAKE_LOCAL_KAFKA_PORT" in findings["port 9092"].cure
    assert findings["port 8025"].good


@pytest.mark.parametrize(("weight", "status"), [("needed", 1), ("optional", 0)])
def test_only_what_is_needed_decides_the_status(
    weight: str, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lack = Finding("Java", False, "none", "install it", weight=weight)  # type: ignore[arg-type]
    monkeypatch.setattr(doctor, "examine", lambda settings: [lack])
    assert main([]) == status
    out = capsys.readouterr().out
    assert "install it" in out
    assert ("1 to cure" in out) == bool(status)
