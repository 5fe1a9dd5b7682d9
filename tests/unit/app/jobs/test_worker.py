"""Measurements of a page give way to the pages that others open; those of a lesson have the machine."""

import os
import sys

import cloudpickle
import pytest

from helpers.app.jobs.processes import Worker
from helpers.app.jobs.worker import AUTOGROUP, NICE
from helpers.lab.paths import SESSION


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no niceness")
@pytest.mark.parametrize(("page", "more"), [(True, NICE), (False, 0)])
def test_a_measurement_gives_way_on_a_page_alone(page, more, monkeypatch, tmp_path):
    monkeypatch.delenv(SESSION, raising=False)
    if page:
        monkeypatch.setenv(SESSION, str(tmp_path))
    grouped = AUTOGROUP.exists()

    def given(report):
        return os.nice(0), int(AUTOGROUP.read_text().split()[-1]) if grouped else None

    worker = Worker()
    try:
        worker.send(cloudpickle.dumps((given, {})))
        kind, content = worker.receive()
        assert kind == "done"
        assert cloudpickle.loads(content) == (os.nice(0) + more, more if grouped else None)
    finally:
        worker.kill()
