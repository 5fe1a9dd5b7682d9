"""What the tests of helpers.app share: what a file's jobs need, and that no process outlives them."""

import cloudpickle
import pytest

from helpers.app.jobs.processes import kill_all


@pytest.fixture(autouse=True, scope="module")
def _jobs_of_this_file(request):
    """A worker cannot import a test file by the name that pytest gives it: its functions are sent whole."""
    cloudpickle.register_pickle_by_value(request.module)
    yield
    kill_all()
