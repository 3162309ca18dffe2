"""Counters that several workers share, as Prometheus reads them."""

from __future__ import annotations

import os

from ml_assets.server.prometheus import SERIES, Metrics, labelled, shared


def test_the_parts_of_all_workers_are_summed_and_survive_them() -> None:
    memory = shared(2)
    asked = labelled("ml_assets_requests_total", pipeline='a"b\\', code="200")
    mine = Metrics(memory, 0)
    mine.add(asked, 2)
    child = os.fork()
    if child == 0:
        Metrics(memory, 1).add(asked, 5)
        os._exit(0)
    os.waitpid(child, 0)
    Metrics(memory, 1).add(asked)  # the one that takes its place goes on
    assert f"{asked} 8\n" in mine.text()
    assert '{pipeline="a\\"b\\\\",code="200"}' in mine.text()
    assert "# TYPE ml_assets_requests_total counter" in mine.text()


def test_a_histogram_counts_every_wider_bucket() -> None:
    metrics = Metrics(shared(1))
    seconds = metrics.histogram("ml_assets_request_seconds", (0.1, 1.0), pipeline="p")
    for value in (0.05, 0.1, 0.5, 7.0):
        seconds.see(value)
    lines = [line for line in metrics.text().splitlines() if not line.startswith("#")]
    assert [line.rpartition(" ")[2] for line in lines] == ["2", "3", "4", "7.6500000000000004", "4"]
    assert lines[2].startswith('ml_assets_request_seconds_bucket{pipeline="p",le="+Inf"}')


def test_more_series_than_there_is_room_for_are_left_out() -> None:
    metrics = Metrics(shared(1))
    for number in range(SERIES + 5):
        metrics.add(labelled("ml_assets_rows_total", version=str(number)))
    assert len(metrics.text().splitlines()) == SERIES + 2
