"""A draft has the answers of the file that it is made of: the same model cut, or in fewer bits."""

import pytest
from tiny_gguf import tiny_gguf

from helpers.hardware_codesign.language_serving import drafts
from helpers.hardware_codesign.language_serving.drafts import draft_folder
from helpers.hardware_codesign.language_serving.engine import Engine
from helpers.hardware_codesign.language_serving.switches import Switches
from helpers.lab import InputError, load_language_model
from helpers.lab.language.gguf import in_weight_type
from helpers.lab.progress import silent

ASKED = [[5, 77, 301, 12], [901, 44]], [6, 6]


@pytest.mark.slow
def test_a_draft_of_half_the_layers_answers_as_the_file_that_was_cut():
    folder = draft_folder(tiny_gguf(), "half of the layers")
    assert draft_folder(tiny_gguf(), "half of the layers") == folder
    assert not list(folder.glob("*.gguf"))
    expected = Engine(in_weight_type(tiny_gguf(), "Q8_0", layers=1)).run(*ASKED).answers
    assert Engine(folder).run(*ASKED).answers == expected


@pytest.mark.slow
def test_a_tuned_draft_guesses_what_the_whole_model_writes(monkeypatch):
    """Each right guess saves a step. A random model needs larger steps than one that knows texts."""
    monkeypatch.setattr("helpers.lab.language.tuning._FULL_LEARNING_RATE", 5e-3)
    monkeypatch.setattr(drafts, "PROMPTS", 8)
    monkeypatch.setattr(drafts, "EPOCHS", 150.0)
    path = in_weight_type(tiny_gguf(), "F16")
    rows = drafts._continued(load_language_model(path, "transformers"), silent)
    learned = [row[:drafts.PROMPT_TOKENS] for row in rows]
    whole, cut, tuned = (Engine(path, Switches(sequences=1, static=True, guesser=kind)).run(learned, [24] * 8)
                         for kind in ("", "half of the layers", "half of the layers, tuned"))
    assert cut.answers == tuned.answers == whole.answers
    assert len(tuned.steps) < 0.5 * len(cut.steps)


def test_a_draft_that_was_tuned_otherwise_is_another_one(monkeypatch):
    monkeypatch.setattr(drafts, "PROMPTS", 2)
    path, tuned = in_weight_type(tiny_gguf(), "F16"), []
    for epochs in (1.0, 2.0, 1.0):
        monkeypatch.setattr(drafts, "EPOCHS", epochs)
        tuned.append(draft_folder(path, "half of the layers, tuned"))
    assert tuned[0] == tuned[2] != tuned[1]


def test_no_draft_is_made_of_other_things(tmp_path):
    for path, kind in ((tiny_gguf(), "the prompt"), (tmp_path, "4 bits")):
        with pytest.raises(InputError, match="A draft is made of a GGUF file"):
            draft_folder(path, kind)
