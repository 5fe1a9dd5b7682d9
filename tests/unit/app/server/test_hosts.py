"""Each handler, whosever it is, answers to known names alone."""

import http.client

import pytest
from jupyter_server.base.handlers import JupyterHandler
from tornado.testing import AsyncHTTPTestCase
from tornado.web import Application, StaticFileHandler
from voila.request_info_handler import RequestInfoSocketHandler

from helpers.app.server.hosts import guarded, is_known

NAMES = ["localhost", "apps.example.org"]
UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
           "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8866", "127.0.0.1", "127.0.0.1:1", "127.9.9.9", "[::1]:8866",
                                  "[::1]", "apps.example.org", "Apps.Example.org:443"])
def test_names_of_this_machine_and_of_the_proxy_are_known(host):
    assert is_known(host, NAMES)


@pytest.mark.parametrize("host", [
    "", ":8866", "stranger.example", "127.0.0.1.stranger.example", "apps.example.org.stranger.example", "0.0.0.0",
    "10.0.0.1", "169.254.169.254", "[::2]", "::1", "[::1", "[localhost]:1:2", "0x7f.1", "2130706433", "127.1",
    "%2Fetc%2Fpasswd", "/etc/passwd", "localhost@stranger.example", "stranger.example#localhost", "localhost:port",
    "localhost ", "localhost\n", "localhost."])
def test_no_other_name_is(host):
    assert not is_known(host, NAMES)


def test_names_that_are_given_in_capitals_are_known_as_well():
    assert is_known("apps.example.org", ["Apps.Example.ORG"])


def test_a_guarded_handler_keeps_its_name_and_is_one_of_its_kind():
    for handler in (StaticFileHandler, RequestInfoSocketHandler, JupyterHandler):
        assert issubclass(guarded(handler), handler)
        assert guarded(handler).__name__ == handler.__name__


class TestHandlersThatAskNobody(AsyncHTTPTestCase):
    """Tornado's files and Voila's second websocket, which checked no name."""

    def get_app(self) -> Application:
        return Application([(r"/files/(.*)", guarded(StaticFileHandler), {"path": http.__path__[0]}),
                            (r"/query/(.*)", guarded(RequestInfoSocketHandler))], local_hostnames=NAMES)

    def test_files_are_served_to_known_names_alone(self):
        for host, status in (("localhost", 200), ("stranger.example", 403), ("%2Fetc", 403)):
            assert self.fetch("/files/client.py", headers={"Host": host}).code == status

    def test_no_line_is_opened_for_a_stranger(self):
        assert self.fetch("/query/a-b", headers={**UPGRADE, "Host": "stranger.example"}).code == 403
        assert self.fetch("/query/a-b", headers={"Host": "localhost"}).code == 400  # known, and no websocket
