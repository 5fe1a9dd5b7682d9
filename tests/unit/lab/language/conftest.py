"""A server that fails as it is told."""

import threading

import pytest
from faulty_server import FaultyServer


@pytest.fixture
def faulty():
    """See FaultyServer: it is well until its `script` says otherwise."""
    with FaultyServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.02], daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
