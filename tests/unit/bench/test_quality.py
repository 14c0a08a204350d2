"""The whole run: simulated mails through the enricher's core."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.quality import __main__ as quality
from bench.quality.arrival import Arrival, numbers_seen
from bench.quality.enriched import enrich
from bench.quality.parameters import read_parameters
from bench.quality.report import measures
from bench.quality.score import CLICKS
from bench.quality.traffic import mails
from bench.row import Row
from mailwake_enricher.rules import packaged_rules


def test_a_seed_gives_the_same_figures() -> None:
    one, other = quality.run(1, 120), quality.run(1, 120)
    assert one == other
    assert one != quality.run(2, 120)


def test_every_hit_is_accounted_for() -> None:
    parameters = read_parameters(1)
    sent = list(mails(parameters, 1, 300))
    arrival = Arrival(parameters.transport, 4, 1)
    enriched = enrich(arrival.records(sent), 4)
    assert enriched.lost == 0
    assert {event.hit_id for event in enriched.events.values()} <= arrival.labels.keys()
    assert enriched.told.keys() == enriched.events.keys()
    hits = len({event.hit_id for event in enriched.events.values()})
    dropped = enriched.drops.total() - enriched.drops["duplicate"]
    assert hits + dropped == len(arrival.labels)


def test_a_click_of_a_person_with_nobody_before_alerts() -> None:
    """What no rule may lose: the share of people's clicks that alert is more than nothing."""
    found = quality.run(1, 400).shares[CLICKS]
    assert found.whole > 20
    assert found.part > found.whole / 2


def test_networks_as_the_edge_sees_them() -> None:
    networks = read_parameters(1).networks
    assert numbers_seen("all", networks) == {}
    assert set(numbers_seen("none", networks).values()) == {0}
    assert numbers_seen("none", networks).keys() == {pool.asn for pool in networks.values()}
    cloud = networks["cloud"].asn
    assert numbers_seen("homes-in-cloud", networks) == {networks["homes"].asn: cloud}
    hidden = numbers_seen("cloud-unknown", networks)[cloud]
    assert hidden not in {pool.asn for pool in networks.values()}
    assert hidden not in {n for each in packaged_rules().file.networks for n in each.asns}
    # What is known of networks changes what is judged, and nothing of what happens.
    known, unknown = quality.run(3, 150), quality.run(3, 150, "none")
    assert known.hits == unknown.hits
    assert known.naive == unknown.naive
    assert known.confusion != unknown.confusion


def test_rows_have_the_form_of_the_benchmark() -> None:
    row = set(Row("stage", 1.0, 2.0, "share", "what").as_dict())
    for measure in measures([quality.run(1, 60)]):
        told = measure.as_dict()
        assert row <= told.keys()
        assert json.loads(json.dumps(told)) == told


def test_only_the_usual_run_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results" / "quality.json"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(quality, "RESULTS", results)
    assert quality.main(["--mails", "30", "--seeds", "2"]) == 0
    assert not results.exists()
    assert "60 simulated mails over 2 seeds" in capsys.readouterr().out
    assert quality.main(["--first", "3", "--mails", "30", "--seeds", "2"]) == 0
    assert "simulating seed 4 of 3 to 4" in capsys.readouterr().err
    monkeypatch.setattr(quality, "MAILS", 30)
    monkeypatch.setattr(quality, "SEEDS", 2)
    assert quality.main([]) == 0
    assert "written to results/quality.json" in capsys.readouterr().out
    assert {"figure", "aim", "met"} <= json.loads(results.read_text("utf-8"))["content"][0].keys()


@pytest.mark.parametrize("argv", [["--mails", "0"], ["--seeds", "0"], ["--mails", "x"]])
def test_a_wrong_argument_is_told(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        quality.main(argv)
    assert error.value.code == 2
    assert argv[0] in capsys.readouterr().err
