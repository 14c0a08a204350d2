"""The page of evidence and its charts say what the files of results say."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import __main__ as bench
from bench import charts, evidence
from bench.charts import read_all
from bench.record import RESULTS, Record, read_record, record
from bench.row import Row
from tests.fault_table import Scenario

ROW = Row("edge: pixel, strict", 9_500.0, 20_000.0, "hits/s", "a bare function", aim=0.4)
WAY = Row("way: pixel to bell, p99", 412.0, 500.0, "ms", "the aim", aim=1.0, less=True)
CONTENT = {
    "latest": [ROW.as_dict(), WAY.as_dict()],
    "recovery": [replace(WAY, stage="recovery: kill -9", figure=12_345.6).as_dict()],
    "scaling": [replace(ROW, stage="scaling: partitions 4, workers 2", aim=None).as_dict()],
    "faults": {
        "form": "long",
        "scenarios": [
            vars(Scenario(3, "kill -9 | of the edge", tests=2, failed=1, lost=0, notes=["x20"])),
            vars(Scenario(4, "a torn end")),
        ],
    },
    "fuzz": {
        "targets": [
            {"target": "html", "seconds": 600, "runs": 123_456, "edges": 78, "inputs": 9,
             "broken": False},
        ]
    },
    "mutation": {
        "targets": [
            {"target": "tokens", "mutants": 200, "killed": 191, "survived": 9, "explained": 9,
             "aim": 0.9, "met": True},
        ]
    },
    "soak": {
        "processes": [
            {"process": "edge", "memory_mib": [80.0, 81.2], "files": [40, 41], "flat": True}
        ]
    },
    "bytes": {"hits": 1_000, "kafka": {"hits": 52_000}, "clickhouse": {"events": 61_500}},
    "quality": [
        replace(ROW, stage="alerts made by people", figure=0.99, beside=0.5).as_dict() | {"of": 99}
    ],
}  # fmt: skip


def record_of(name: str) -> Record:
    return Record(evidence.COMMANDS[name], "0123456789ab", "2026-11-24", "two cores", CONTENT[name])


RECORDS = {name: record_of(name) for name in evidence.COMMANDS}


def test_the_page_and_the_charts_are_those_of_the_results() -> None:
    """Make them anew: `python -m bench charts`, `python -m bench evidence`."""
    records = read_all(evidence.COMMANDS)
    assert evidence.PAGE.read_text("utf-8") == evidence.page(records)
    drawn = {file.stem: file.read_text("utf-8") for file in charts.FOLDER.glob("*.svg")}
    assert drawn == charts.charts(records)


def test_every_file_of_results_is_on_the_page() -> None:
    assert {file.stem for file in RESULTS.glob("*.json")} <= evidence.COMMANDS.keys()


@pytest.mark.parametrize(
    "line",
    [
        "| edge: pixel, strict | 9,500 | 20,000 | hits/s | 0.47 | ≥ 0.4 | yes | a bare function |",
        "| way: pixel to bell, p99 | 412 | 500 | ms | 0.82 | ≤ 1 | yes | the aim |",
        "| recovery: kill -9 | 12,346 | 500 | ms | 24.69 | ≤ 1 | **no** | the aim |",
        "| 3 | kill -9 / of the edge | 2, 1 FAILED | – | – | 0 | – | 0 | x20 |",
        "| 4 | a torn end | not run | – | – | – | – | 0 |  |",
        "| html | 600 | 123,456 | 78 | 9 | hold |",
        "| tokens | 200 | 191 | 9 | 9 | 95.5% | 90% | yes |",
        "| edge | 80 | 81 | 40 | 41 | yes |",
        "| clickhouse | events | 61,500 | 61.5 |",
        "| alerts made by people | 0.9900 | 0.5000 | ≥ 0.4 | yes | 99 | a bare function |",
        "`make bench` at commit `0123456789ab`, 2026-11-24; machine: two cores.",
    ],
)
def test_what_was_measured_stands_on_the_page(line: str) -> None:
    assert line in evidence.page(RECORDS).splitlines()


@pytest.mark.parametrize("name", list(evidence.COMMANDS))
def test_what_was_not_run_is_said(name: str) -> None:
    page = evidence.page(RECORDS | {name: None})
    assert f"Not run yet: `{evidence.COMMANDS[name]}` writes bench/results/{name}.json." in page
    assert "Not run yet" not in evidence.page(RECORDS)


def test_every_table_has_as_many_cells_in_each_line() -> None:
    cells = 0
    for line in evidence.page(RECORDS).splitlines():
        if not line.startswith("|"):
            cells = 0
            continue
        cells = cells or line.count("|")
        assert line.count("|") == cells, line


def test_charts_are_well_formed_and_hold_what_they_say() -> None:
    drawn = charts.charts(RECORDS)
    assert drawn.keys() == {"ratios", "latency", "scaling"}
    for text in drawn.values():
        root = ElementTree.fromstring(text)  # noqa: S314  # our own
        width, height = (float(root.attrib[name]) for name in ("width", "height"))
        for bar in root.iter("{http://www.w3.org/2000/svg}rect"):
            assert float(bar.attrib["x"]) + float(bar.attrib["width"]) <= width
            assert float(bar.attrib["y"]) + float(bar.attrib["height"]) <= height
    assert "9,500" in drawn["scaling"]
    assert drawn == charts.charts(RECORDS)


def test_the_longest_bar_is_the_largest_figure() -> None:
    text = charts.svg("t", "n", [charts.Bar("a", 10, "10"), charts.Bar("b<", 40, "40", aim=20)])
    lengths = [float(each) for each in re.findall(r'<rect [^>]*width="([0-9.]+)"', text)]
    assert lengths[1] == pytest.approx(4 * lengths[0], rel=0.01)
    assert "b&lt;" in text


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    made = record("make bench", [ROW.as_dict()])
    made.write(tmp_path / "results" / "latest.json")
    assert read_record(tmp_path / "results" / "latest.json") == made
    assert re.fullmatch(r"[0-9a-f]{12}\+?|unknown", made.commit)
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", made.date)
    assert re.search(r"^\d+ cores of .+, \d+ GiB, .+, Python 3\.\d+\.\d+", made.machine)
    assert read_record(tmp_path / "no.json") is None
    (tmp_path / "bad.json").write_text("[]")
    with pytest.raises(ValueError, match="not a file of results"):
        read_record(tmp_path / "bad.json")


def test_a_stage_with_a_file_of_its_own_is_written_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "RESULTS", tmp_path)
    for stage in (*bench.STAGES, *bench.APART):
        monkeypatch.setattr(
            f"bench.{stage}.measure", lambda stage=stage: [replace(ROW, stage=f"{stage}: x")]
        )
    assert bench.main(["edge"]) == 0
    assert not list(tmp_path.iterdir())
    assert bench.main(["scaling"]) == 0
    assert [file.name for file in tmp_path.iterdir()] == ["scaling.json"]
    assert bench.main([]) == 0
    assert {file.stem for file in tmp_path.iterdir()} == {"latest", "recovery", "scaling"}
    latest = read_record(tmp_path / "latest.json")
    assert latest is not None
    assert [row["stage"] for row in latest.content] == [
        f"{stage}: x" for stage in bench.STAGES if stage != "recovery"
    ]
    assert bench.main(["nothing"]) == 2
    assert "there are instrument" in capsys.readouterr().out
