"""What strangers send to kernels and widgets: it is dropped, or changes nothing but what is theirs."""

import contextlib
import json
import uuid

import pytest
from jupyter_server.services.kernels.connection.base import serialize_msg_to_ws_v1
from served_pages import SLIDER, Line, connected, ended
from websockets.exceptions import ConnectionClosed

from helpers.app.server.frames import MAX_BUFFERS, PROTOCOL

pytestmark = pytest.mark.usefixtures("still_serves")

CODE = "open('owned', 'w')"
RUN = {"code": CODE, "silent": False, "store_history": False, "user_expressions": {"x": CODE}, "allow_stdin": False}
DEBUG = {"type": "request", "seq": 1, "command": "evaluate", "arguments": {"expression": CODE}}
HISTORY = {"hist_access_type": "tail", "n": 10, "output": True, "raw": True}
FORBIDDEN = {
    "code to run": ("execute_request", RUN, "shell"), "the same by control": ("execute_request", RUN, "control"),
    "the same by stdin": ("execute_request", RUN, "stdin"), "the debugger": ("debug_request", DEBUG, "control"),
    "completion": ("complete_request", {"code": f"({CODE}).", "cursor_pos": 20}, "shell"),
    "inspection": ("inspect_request", {"code": "slider", "cursor_pos": 3, "detail_level": 1}, "shell"),
    "history": ("history_request", HISTORY, "shell"), "an answer to input()": ("input_reply", {"value": CODE}, "stdin"),
    "an interrupt": ("interrupt_request", {}, "control"), "a thread": ("create_subshell_request", {}, "control"),
    "the machine's load": ("usage_request", {}, "control"), "parallel work": ("apply_request", {"code": CODE}, "shell"),
    "another case": ("EXECUTE_REQUEST", RUN, "shell"), "a space": ("execute_request ", RUN, "shell"),
}


def slider_of(line: Line) -> int:
    return line.find("the slider")[1]["value"]


@pytest.mark.parametrize("kind", FORBIDDEN)
def test_a_page_can_only_move_widgets(lines, kind):
    message, content, channel = FORBIDDEN[kind]
    lines[0].send(message, content, channel=channel)
    assert lines[0].answers() == []
    assert slider_of(lines[0]) == SLIDER


@pytest.mark.parametrize("spelling", [b'"execute\\u005frequest"', b'"comm_info_request", "msg_type": "execute_request"',
                                      b'"execute_request", "msg_type": "comm_info_request"'])
def test_no_spelling_of_a_type_gets_past_the_check(lines, spelling):
    """Server and kernel read a header alike, also one with a name twice."""
    header = {"msg_id": uuid.uuid4().hex, "msg_type": 0, "session": lines[0].session, "username": "", "version": "5.3"}
    written = json.dumps(header).encode().replace(b'"msg_type": 0', b'"msg_type": ' + spelling)
    lines[0].socket.send(serialize_msg_to_ws_v1([written, b"{}", b"{}", json.dumps(RUN).encode()], "shell"))
    assert not [kind for kind, _ in lines[0].answers() if kind.startswith("execute")]


BAD_FRAMES = {
    "eight bytes of ones": b"\xff" * 8, "nothing": b"", "text": "{}", "a message in text": '{"channel": "shell"}',
    "zeros": bytes(64), "letters": b"garbage that is no frame", "a count alone": (6).to_bytes(8, "little"),
    "offsets far away": (6).to_bytes(8, "little") + b"\xff" * 48,
}


@pytest.mark.parametrize("kind", BAD_FRAMES)
def test_a_frame_that_no_page_sends_ends_its_own_line_alone(address, kernels, lines, kind):
    stranger = Line(address, kernels[1])
    stranger.socket.send(BAD_FRAMES[kind])
    assert ended(stranger.socket) == 1008
    assert slider_of(lines[0]) == slider_of(lines[1]) == SLIDER


@pytest.mark.parametrize("protocols", [None, ["v2.kernel.websocket.jupyter.org"], ["evil"]])
def test_no_other_protocol_is_spoken(address, kernels, protocols):
    socket = connected(address, f"api/kernels/{kernels[1]}/channels", subprotocols=protocols)
    socket.send(json.dumps({"channel": "shell", "header": {"msg_type": "execute_request"}, "content": RUN}))
    assert ended(socket) == 1008


def update(state):
    return {"method": "update", "state": state, "buffer_paths": []}


@pytest.mark.parametrize("data", [update({"value": 77}), {"method": "request_state"},
                                  {"method": "custom", "content": {}}, update({"description": "<script>"})])
def test_another_readers_widget_is_out_of_reach(lines, data):
    """Its number is known to the stranger here, and leads to nothing in their own kernel."""
    mine, theirs = lines
    model, before = theirs.find("the slider")
    mine.send("comm_msg", {"comm_id": model, "data": data})
    mine.send("comm_close", {"comm_id": model, "data": {}})
    assert [kind for kind, _ in mine.answers() if kind == "comm_msg"] == []
    assert theirs.find("the slider") == (model, before)


def test_nobodys_widgets_are_listed_to_others(lines):
    mine, theirs = (set(line.widgets()) for line in lines)
    assert mine
    assert not mine & theirs
    lines[0].send("comm_info_request", {})
    listed = next(content["comms"] for kind, content in lines[0].answers() if kind == "comm_info_reply")
    assert mine & set(listed)
    assert not theirs & set(listed)


def test_another_readers_session_is_of_no_use(address, kernels, lines):
    """Whatever session a stranger names, they hear their own kernel alone."""
    stranger = connected(address, f"api/kernels/{kernels[1]}/channels?session_id={lines[0].session}",
                         subprotocols=[PROTOCOL])
    model, _ = lines[0].find("the slider")
    heard = []
    with stranger, contextlib.suppress(TimeoutError):
        while True:
            heard.append(stranger.recv(timeout=2))
    assert model not in str(heard)


@pytest.mark.parametrize("content", [
    {"target_name": "os.system", "data": {}}, {"target_name": "x", "target_module": "os", "data": {}}, {},
    {"target_name": "jupyter.widget", "data": {"state": {"_model_module": "os", "_model_name": "system"}}},
    {"target_name": "jupyter.widget", "data": {}}, {"comm_id": [], "target_name": "jupyter.widget", "data": {}},
    {"target_name": "jupyter.widget", "data": {"state": {
        "_model_module": "@jupyter-widgets/controls", "_model_name": "IntSliderModel", "_view_name": CODE}}}])
def test_opening_strange_comms_runs_nothing(lines, content):
    lines[0].send("comm_open", {"comm_id": uuid.uuid4().hex, **content}, metadata={"version": "2.1.0"})
    assert not [kind for kind, _ in lines[0].answers() if kind.startswith("execute")]
    assert slider_of(lines[0]) == SLIDER


@pytest.mark.parametrize("data", [
    {}, {"method": "evil"}, update({}), update({"no_such_trait": 1}), update({"value": "text"}),
    update({"value": None}), update({"value": {"a": [1] * 100}}), update([1, 2]), {"method": ["update"], "state": 3},
    {"method": "update", "state": {"value": 1}, "buffer_paths": [["value", "__class__", 0]]},
    {"method": "update", "state": {}, "buffer_paths": [[*range(1000)]]}])
def test_odd_states_leave_ones_own_widget_as_it_was(lines, data):
    model, _ = lines[0].find("the slider")
    lines[0].send("comm_msg", {"comm_id": model, "data": data}, buffers=[b"x"] if data.get("buffer_paths") else [])
    lines[0].answers()
    assert slider_of(lines[0]) == SLIDER


def test_a_reader_does_move_their_own_widget(lines):
    """Else all of the above would show nothing."""
    model, _ = lines[0].find("the slider")
    for value in (8, SLIDER):
        lines[0].send("comm_msg", {"comm_id": model, "data": update({"value": value})})
        assert slider_of(lines[0]) == value
        assert slider_of(lines[1]) == SLIDER


def upload(name="owned.txt", size=4, **facts):
    """As a page sends a file: its bytes come in a buffer."""
    entry = {"name": name, "type": "text/plain", "size": size, "last_modified": 0, **facts}
    return {"method": "update", "state": {"value": [entry]}, "buffer_paths": [["value", 0, "content"]]}


@pytest.mark.parametrize("data", [
    *(upload(name) for name in ("../../../owned.txt", "/tmp/owned.txt", "owned\0.txt", "owned" * 1000, "..\\owned.txt",
                                "~/owned.txt", "$(touch owned)", "owned.ipynb", "owned.pkl", "")),
    upload(size=-1), upload(size=10**18), upload(size="big"), upload(last_modified=1e300), upload(last_modified="now"),
    upload(type=["a"]), upload(content="text"), upload(content={"code": CODE})])
def test_no_uploaded_file_is_written_under_its_name_or_ends_a_kernel(lines, data):
    model, _ = lines[0].find("the upload")
    lines[0].send("comm_msg", {"comm_id": model, "data": data}, buffers=[b"text"])
    lines[0].answers()
    assert slider_of(lines[0]) == SLIDER


def test_a_file_that_is_too_large_ends_its_own_line_alone(address, kernels, lines):
    stranger, size = Line(address, kernels[1]), 11_000_000
    model, _ = stranger.find("the upload")
    with contextlib.suppress(ConnectionClosed):  # while it is sent
        stranger.send("comm_msg", {"comm_id": model, "data": upload(size=size)}, buffers=[bytes(size)])
    assert ended(stranger.socket) in (1009, None)  # the server may hang up before its reason arrives
    assert lines[1].find("the upload")[1]["value"] == []


def test_more_buffers_than_a_page_sends_end_the_line(address, kernels):
    stranger = Line(address, kernels[1])
    stranger.send("comm_msg", {"comm_id": "x", "data": {}}, buffers=[b""] * (MAX_BUFFERS + 1))
    assert ended(stranger.socket) == 1008


def test_a_reader_ends_their_own_kernel_alone(lines):
    """The last test of the file, since one kernel ends."""
    lines[1].send("shutdown_request", {"restart": False}, channel="control")
    while "shutdown_reply" not in str(lines[1].socket.recv(timeout=30)):
        pass
    assert slider_of(lines[0]) == SLIDER
