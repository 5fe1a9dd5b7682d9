"""A draft has the answers of the file that it is made of: the same model cut, or in fewer bits."""

import pytest
from tiny_gguf import tiny_gguf

from helpers.hardware_codesign.language_serving.drafts import draft_folder
from helpers.hardware_codesign.language_serving.engine import Engine
from helpers.lab import InputError
from helpers.lab.language.gguf import in_weight_type

ASKED = [[5, 77, 301, 12], [901, 44]], [6, 6]


@pytest.mark.slow
def test_a_draft_of_half_the_layers_answers_as_the_file_that_was_cut():
    folder = draft_folder(tiny_gguf(), "half of the layers")
    assert draft_folder(tiny_gguf(), "half of the layers") == folder
    assert not list(folder.glob("*.gguf"))
    expected = Engine(in_weight_type(tiny_gguf(), "Q8_0", layers=1)).run(*ASKED).answers
    assert Engine(folder).run(*ASKED).answers == expected


def test_no_draft_is_made_of_other_things(tmp_path):
    for path, kind in ((tiny_gguf(), "the prompt"), (tmp_path, "4 bits")):
        with pytest.raises(InputError, match="A draft is made of a GGUF file"):
            draft_folder(path, kind)
