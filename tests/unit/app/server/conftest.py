"""What the probes of a running server share: one server a file, and what nobody may read beside its pages."""

import time

import pytest
from served_pages import Line, ask, open_kernel, pages, write_notebook

CANARY = "CANARY-5b1f0a"
PROXY = "apps.example.org"
MAX_WAIT_S = 10.0  # in which a server that a probe did not stop answers; its machine may be busy


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where server, home and notebooks are; secret.png and secret.ipynb have names that are served within the pages."""
    folder = tmp_path_factory.mktemp("probes")
    (folder / "secret.png").write_text(CANARY)
    write_notebook(folder / "secret.ipynb", f"print('{CANARY}')")
    return folder


@pytest.fixture(scope="module")
def address(folder):
    """The landing page of a running server."""
    with pages(folder, "--pool", "0", "--host", PROXY, "--socket", str(folder / "door")) as started:
        yield started


@pytest.fixture(scope="module")
def kernels(address):
    """Two readers' kernels."""
    return open_kernel(address), open_kernel(address)


@pytest.fixture
def lines(address, kernels):
    """The two readers' lines."""
    both = [Line(address, kernel) for kernel in kernels]
    yield both
    for line in both:
        line.socket.close()


@pytest.fixture
def still_serves(address, folder):
    """The landing page answers at once after a test, and nothing was written where its probes would write."""
    yield
    began = time.monotonic()
    assert ask(address, "")[0] == 200
    assert time.monotonic() - began < MAX_WAIT_S
    assert not list(folder.rglob("owned*"))
