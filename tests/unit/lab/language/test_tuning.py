"""Tuning with LoRA on a random Llama, and its weights in the other engines."""

import copy

import numpy as np
import pytest
import torch
from gguf import GGUFWriter
from tiny_gguf import tiny_gguf, tiny_llm

from helpers.lab import Cancelled, InputError
from helpers.lab.language.loading import load_language_model
from helpers.lab.language.tuning import _tokens, tune, write_gguf
from helpers.lab.progress import Progress

ROWS = [("Where is my camera, HB-1?", '{"order": "HB-1"}'), ("refund 20 euros", '{"amount": "20 euros"}'),
        ("hello", "{}"), ("the hub is broken since May", '{"product": "hub"}'), ("Cancel it", "no order")]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def source():
    return tiny_gguf()


@pytest.fixture(scope="module")
def llm():
    return tiny_llm()


@pytest.fixture(scope="module")
def tuned(llm):
    return tune(llm, ROWS, rank=16, epochs=250)


def answers(llm):
    return [llm.generate([prompt], max_tokens=16)[0].text for prompt, _ in ROWS]


def logits(llm, text="the same text for both"):
    with torch.inference_mode():
        return llm.module(torch.tensor(llm.encode([text]))).logits.numpy()


def test_a_tuned_model_gives_the_answers_that_it_was_shown_and_ends(llm, tuned):
    before = answers(llm)
    assert before != [answer for _, answer in ROWS]
    assert answers(tuned) == [answer for _, answer in ROWS]
    assert answers(llm) == before  # the model that was tuned stays as it is
    assert tuned.name == f"{llm.name}, LoRA rank 16"


def test_the_merged_model_is_a_plain_one_and_differs_by_updates_of_the_rank(llm, tuned):
    before, after = llm.module.state_dict(), tuned.module.state_dict()
    assert set(after) == set(before)
    for name, weight in after.items():
        rank = np.linalg.matrix_rank((weight - before[name]).numpy(), tol=1e-4) if weight.ndim == 2 else 0
        assert (0 < rank <= 16) if "proj" in name else torch.equal(weight, before[name]), name


def test_only_the_answer_and_its_end_are_learned(llm):
    """By hand: at each token the next one, if it is of the answer."""
    ids, targets = _tokens(llm, [("Hi", "ok")])
    prompt, [answer] = llm.read("Hi"), llm.encode(["ok"])
    whole = [*prompt, *answer, min(llm.ends)]
    assert ids == [whole[:-1]]
    assert targets.tolist() == [[-100] * (len(prompt) - 1) + whole[len(prompt):]]


def test_of_several_ends_the_tokenizers_own_is_learned_and_scored(llm):
    """Token 0 ends a text, 2 an answer."""
    both = copy.copy(llm)
    both.ends = llm.ends | {0}
    assert _tokens(both, ROWS)[1].tolist() == _tokens(llm, ROWS)[1].tolist()
    np.testing.assert_array_equal(both.score("Hi", ["ok", "hub"]), llm.score("Hi", ["ok", "hub"]))


def test_the_loss_is_that_of_transformers_with_the_prompt_masked(llm):
    """Its own loss shifts the labels by itself."""
    ids, targets = _tokens(llm, ROWS[:1])
    labels = torch.tensor([[-100, *targets[0].tolist()]])
    whole = torch.tensor([[*ids[0], int(targets[0, -1])]])
    with torch.inference_mode():
        expected = llm.module(whole, labels=labels).loss.item()
        result = llm.module(torch.tensor(ids)).logits[0].log_softmax(-1)
    learned = np.flatnonzero(targets[0] != -100)
    own = -np.mean([float(result[place, targets[0, place]]) for place in learned])
    assert own == pytest.approx(expected, rel=1e-5)


def test_written_weights_are_read_back_by_transformers(llm, tuned, source, tmp_path):
    write_gguf(tuned, source, tmp_path / "tuned.gguf")
    read = load_language_model(tmp_path / "tuned.gguf", "transformers")
    np.testing.assert_allclose(logits(read), logits(tuned), atol=0.02)
    assert np.abs(logits(tuned) - logits(llm)).max() > 1


@pytest.mark.parametrize("engine", ["openvino", "llama.cpp"])
def test_the_other_engines_answer_as_the_tuned_model_does(engine, tuned, source, tmp_path):
    write_gguf(tuned, source, tmp_path / "tuned.gguf")
    assert answers(load_language_model(tmp_path / "tuned.gguf", engine)) == [answer for _, answer in ROWS]


def test_what_cannot_be_tuned_or_written_is_refused(llm, source, tmp_path):
    with pytest.raises(InputError, match=r"runs in llama\.cpp, which cannot train"):
        tune(load_language_model(source, "llama.cpp"), ROWS)
    with pytest.raises(InputError, match="needs a row and a rank"):
        tune(llm, [])
    with pytest.raises(InputError, match="needs a row and a rank"):
        tune(llm, ROWS, rank=0)
    with pytest.raises(InputError, match=r"does not fit in the 2,048"):
        tune(llm, [("word " * 3000, "x")])
    writer = GGUFWriter(tmp_path / "small.gguf", "llama")
    writer.add_tensor("token_embd.weight", np.zeros((4, 64), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(InputError, match=r"'small\.gguf' is of another model"):
        write_gguf(llm, tmp_path / "small.gguf", tmp_path / "out.gguf")
    assert not (tmp_path / "out.gguf").exists()


def test_cancelling_ends_the_tuning(llm):
    steps = []
    with pytest.raises(Cancelled):
        tune(llm, ROWS, epochs=50, progress=Progress(lambda fraction, message: steps.append(message),
                                                     lambda: len(steps) >= 2))
    assert steps[-1].startswith("tuning: step 2 of")
