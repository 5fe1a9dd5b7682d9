"""What a library says, as a part of a sentence: on one line, and without the folders of this machine."""

import pytest

from helpers.lab.errors import reason


@pytest.mark.parametrize(("said", "shown"), [
    ("Load model from /tmp/tmp6q_47guv/6.xml failed", "Load model from 6.xml failed"),
    ("[Errno 2] No such file: '/home/me/my files/a.csv'", "[Errno 2] No such file: 'a.csv'"),
    ("C:\\Users\\me\\a.onnx is no model", "a.onnx is no model"),
    ('in "C:\\Users\\the one\\a.onnx"', 'in "a.onnx"'),
    ("File /srv/app/model.py, line 3", "File model.py, line 3"),
    ("see https://onnx.ai/docs/index.html or http://127.0.0.1:8000/v1/chat", None),
    ("1/2 of the tokens and/or texts/s", None),
    ("\x1b[31mbroken\x1b[0m\n  twice.", "broken twice")])
def test_an_error_is_told_on_one_line_without_folders(said, shown):
    assert reason(OSError(said)) == f"OSError: {shown or said}"


def test_a_long_error_is_cut():
    assert len(reason(ValueError("x" * 1000))) < 200
