"""Models of every runtime: the same answers after a reload, in another runtime, and in pieces."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.lab import InputError, Model, export, load, tfidf_baseline
from helpers.lab.models.model import Card, TextModel, folder_bytes
from helpers.lab.models.onnx import session
from helpers.lab.models.torch import TorchTextModel, count_macs, count_parameters
from helpers.lab.progress import Progress
from helpers.lab.training.fine_tuning import fine_tune, length_batches
from helpers.lab.training.tokenizer import TextEncoder, pad

RUNTIMES = ["pytorch", "onnxruntime", "openvino", "scikit-learn"]
ARTEFACTS = {"pytorch": "weights.safetensors", "onnxruntime": "model.onnx", "openvino": "model.bin",
             "scikit-learn": "weights.npz"}


@pytest.fixture(scope="module")
def models(tiny_model, tiny_task):
    return {"pytorch": tiny_model, "onnxruntime": export(tiny_model, "onnxruntime"),
            "openvino": export(tiny_model, "openvino"), "scikit-learn": tfidf_baseline(tiny_task)}


@pytest.fixture(scope="module")
def saved(models, tmp_path_factory):
    """Folders with the models in them; not to be changed."""
    folders = {name: tmp_path_factory.mktemp("models") / name for name in models}
    for name, folder in folders.items():
        models[name].save(folder)
    return folders


@pytest.fixture(scope="module")
def texts(tiny_task):
    """81 texts of 2 to 13 words, and one of 200."""
    return [*tiny_task.train["text"][:], "hammer and rain " * 70]


# Saved and loaded

@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_reloaded_model_answers_the_same(models, saved, texts, runtime):
    np.testing.assert_array_equal(load(saved[runtime]).predict(texts), models[runtime].predict(texts))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_reloaded_model_has_the_same_card(models, saved, runtime):
    assert load(saved[runtime]).card == models[runtime].card
    assert isinstance(load(saved[runtime]), Model)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_folder_may_be_moved_once_the_model_is_loaded(saved, texts, tmp_path, runtime):
    shutil.copytree(saved[runtime], tmp_path / "model")
    model = load(tmp_path / "model")
    before = model.predict(texts[:5])
    shutil.rmtree(tmp_path / "model")
    np.testing.assert_array_equal(model.predict(texts[:5]), before)
    model.save(tmp_path / "again")
    np.testing.assert_array_equal(load(tmp_path / "again").predict(texts[:5]), before)


def test_the_bytes_of_a_folder_are_those_of_its_files(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "a").write_bytes(b"123")
    (tmp_path / "inner" / "b").write_bytes(b"4567")
    assert folder_bytes(tmp_path) == 7


# Other runtimes

@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_an_export_answers_as_pytorch_does(models, texts, runtime):
    expected = models["pytorch"].predict(texts)
    assert np.ptp(expected, axis=0).min() > 0.1  # else nothing would be compared
    np.testing.assert_allclose(models[runtime].predict(texts), expected, atol=1e-4)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_an_export_has_the_same_parameters_and_says_its_runtime(models, runtime):
    card = models[runtime].card
    assert card.parameters == models["pytorch"].card.parameters
    assert card.settings["runtime"] == runtime
    assert card.made_in_s > models["pytorch"].card.made_in_s


def test_an_export_leaves_a_16_bit_model_as_it_was(tiny_model, texts):
    half = TorchTextModel(tiny_model.card, tiny_model.encoder, _copy(tiny_model.module).to(torch.bfloat16))
    before = half.predict(texts[:4])
    export(half, "onnxruntime")
    assert {parameter.dtype for parameter in half.module.parameters()} == {torch.bfloat16}
    np.testing.assert_array_equal(half.predict(texts[:4]), before)


def _copy(module):
    import copy

    return copy.deepcopy(module)


def test_an_unknown_runtime_is_answered_with_those_there_are(tiny_model):
    with pytest.raises(InputError, match=r"no runtime 'tvm' to export to\. Known: onnxruntime, openvino\."):
        export(tiny_model, "tvm")


def test_only_a_pytorch_model_is_exported(models):
    with pytest.raises(InputError, match=r"Only a PyTorch model can be exported; '.*' runs in onnxruntime"):
        export(models["onnxruntime"], "openvino")


# In pieces and in streams

@pytest.mark.parametrize("runtime", ["pytorch", "onnxruntime", "openvino"])
@pytest.mark.parametrize("settings", [{"streams": 2, "micro_batch": 3}, {"micro_batch": 1}, {"streams": 2}])
def test_streams_and_micro_batches_give_the_rows_in_their_order(saved, models, texts, runtime, settings, tmp_path):
    shutil.copytree(saved[runtime], tmp_path / "model")
    facts = json.loads((tmp_path / "model" / "model.json").read_text())
    facts["settings"] |= settings
    (tmp_path / "model" / "model.json").write_text(json.dumps(facts))
    np.testing.assert_allclose(load(tmp_path / "model").predict(texts), models[runtime].predict(texts), atol=1e-5)


@pytest.mark.parametrize(("rows", "settings", "expected"), [
    (1, {"streams": 2, "micro_batch": 4}, [1]), (4, {"streams": 2, "micro_batch": 4}, [2, 2]),
    (5, {"streams": 2, "micro_batch": 4}, [2, 3]), (12, {"streams": 2, "micro_batch": 4}, [3, 3, 3, 3]),
    (16, {"streams": 2, "micro_batch": 4}, [4, 4, 4, 4]), (9, {"micro_batch": 4}, [1, 4, 4]), (5, {}, [5])])
def test_rows_are_shared_out_so_that_no_stream_is_idle(tiny_model, texts, rows, settings, expected, monkeypatch):
    monkeypatch.setattr("helpers.lab.models.model.usable_cores", lambda: 2)
    sizes = []

    class Noting(TextModel):
        def _logits(self, ids, mask):
            sizes.append(len(ids))
            return np.zeros((len(ids), 3), np.float32)

    Noting(Card("noting", 3, "test", settings), tiny_model.encoder).predict(texts[:rows])
    assert sorted(sizes) == expected


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="it is fast on a GPU")
def test_the_fused_layer_norm_that_is_slow_on_a_cpu_is_left_out(models, texts, tmp_path):
    ours = session(models["onnxruntime"].graph, 1, tmp_path / "ours")
    options = onnxruntime.SessionOptions()
    options.enable_profiling, options.profile_file_prefix = True, str(tmp_path / "default")
    default = onnxruntime.InferenceSession(str(models["onnxruntime"].graph), options)
    feed = dict(zip(("input_ids", "attention_mask"), pad(models["onnxruntime"].encoder.encode(texts[:8])), strict=True))
    answers, operators = [], []
    for one in (ours, default):
        answers.append(one.run(["logits"], feed)[0])
        events = json.loads(Path(one.end_profiling()).read_text(encoding="utf-8"))
        operators.append({event["args"].get("op_name") for event in events if event.get("cat") == "Node"})
    assert "SkipLayerNormalization" not in operators[0]
    assert "SkipLayerNormalization" in operators[1]  # else there is nothing to leave out any more
    np.testing.assert_allclose(*answers, atol=1e-5)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_row_gets_the_same_answer_alone_as_in_company(models, texts, runtime):
    together = models[runtime].predict(texts)
    alone = np.concatenate([models[runtime].predict([text]) for text in texts[:8]])
    np.testing.assert_allclose(alone, together[:8], atol=1e-5)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_no_input_gives_no_rows(models, runtime):
    logits = models[runtime].predict([])
    assert logits.shape == (0, 3)
    assert logits.dtype == np.float32


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_an_empty_text_is_answered(models, runtime):
    assert np.isfinite(models[runtime].predict(["", "a cat"])).all()


def test_a_tuple_of_texts_is_as_good_as_a_list(models, texts):
    for model in models.values():
        np.testing.assert_array_equal(model.predict(tuple(texts[:3])), model.predict(texts[:3]))


# Damage and mischief

def change_facts(folder, **changes):
    facts = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(facts | changes))


@pytest.fixture
def copied(saved, tmp_path):
    def copying(runtime):
        return shutil.copytree(saved[runtime], tmp_path / "copy")
    return copying


@pytest.mark.parametrize("content", ["", "{", "[]", '"pytorch"', "{}", '{"runtime": "pytorch"}',
                                     '{"runtime": "pytorch", "name": "x", "classes": 3, "surprise": 1}'])
def test_a_broken_description_is_said(copied, content):
    folder = copied("pytorch")
    (folder / "model.json").write_text(content)
    with pytest.raises(InputError, match="The folder 'copy' holds no readable model"):
        load(folder)


def test_a_missing_folder_is_said(tmp_path):
    with pytest.raises(InputError, match="The folder 'nothing' holds no readable model"):
        load(tmp_path / "nothing")


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"garbage"),
                                    lambda path: path.write_bytes(path.read_bytes()[:100])])
def test_a_damaged_artefact_is_said(copied, runtime, damage):
    folder = copied(runtime)
    damage(folder / ARTEFACTS[runtime])
    with pytest.raises(InputError, match="The model in 'copy' is damaged or incomplete"):
        load(folder)


def test_weights_of_another_shape_are_said(copied):
    folder = copied("pytorch")
    change_facts(folder, classes=7)
    with pytest.raises(InputError, match="The model in 'copy' is damaged or incomplete"):
        load(folder)


def test_a_damaged_tokenizer_is_said(copied):
    folder = copied("onnxruntime")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="The model in 'copy' is damaged or incomplete"):
        load(folder)


def test_a_name_in_a_file_is_never_imported(copied, tmp_path, monkeypatch):
    (tmp_path / "mischief.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = copied("pytorch")
    for runtime in ("mischief", "mischief.Model", "../mischief"):
        change_facts(folder, runtime=runtime)
        with pytest.raises(InputError, match="No installed package reads models"):
            load(folder)
    change_facts(folder, runtime="pytorch")
    config = json.loads((folder / "config.json").read_text())
    custom = {"auto_map": {"AutoModel": "mischief.Model", "AutoConfig": "mischief.Config"}, "model_type": "mischief"}
    (folder / "config.json").write_text(json.dumps(config | custom))
    with pytest.raises(InputError, match="damaged or incomplete"):
        load(folder)
    assert not (tmp_path / "ran").exists()


class Explosive:
    """What a pickle could hold: it writes a file when it is read."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_a_pickle_in_a_file_is_never_opened(copied, tmp_path):
    folder = copied("scikit-learn")
    arrays = dict(np.load(folder / "weights.npz"))
    np.savez(folder / "weights.npz", **arrays | {"idf": np.array([Explosive(tmp_path / "ran")], dtype=object)})
    with pytest.raises(InputError, match="damaged or incomplete"):
        load(folder)
    assert not (tmp_path / "ran").exists()


# Cards, counts and texts

def test_a_derived_card_adds_up_settings_and_making_times():
    card = Card("base", 3, settings={"runtime": "pytorch", "seed": 1}, parameters=10, made_in_s=5.0)
    assert card.derive("int8", "model optimization", 2.0, runtime="onnxruntime") == Card(
        "int8", 3, "model optimization", {"runtime": "onnxruntime", "seed": 1}, 10, None, 7.0)
    assert card.settings == {"runtime": "pytorch", "seed": 1}


@pytest.mark.parametrize("tokens", [8, 32])
def test_multiplications_are_those_of_the_architecture(tiny_model, tokens):
    """Each of 2 layers: 4 matrices of 64 x 64, 2 of 64 x 128, 2 products of T x T x 64; then pooler and classifier."""
    layer = tokens * (4 * 64 * 64 + 2 * 64 * 128) + 2 * tokens * tokens * 64
    assert count_macs(tiny_model.module, tokens) == 2 * layer + 64 * 64 + 64 * 3


def test_parameters_are_those_of_the_architecture(tiny_model):
    """Embeddings of 30,522 words, 128 places and 2 kinds; 2 layers; pooler; classifier; two numbers a norm."""
    layer = 4 * (64 * 64 + 64) + (64 * 128 + 128) + (128 * 64 + 64) + 2 * 2 * 64
    expected = (30522 + 128 + 2) * 64 + 2 * 64 + 2 * layer + (64 * 64 + 64) + (64 * 3 + 3)
    assert count_parameters(tiny_model.module) == expected


def test_padding_is_zeros_on_the_right():
    ids, mask = pad([[5, 6, 7], [8]])
    np.testing.assert_array_equal(ids, [[5, 6, 7], [8, 0, 0]])
    np.testing.assert_array_equal(mask, [[1, 1, 1], [1, 0, 0]])
    assert (ids.dtype, mask.dtype) == (np.int64, np.int64)


def test_the_encoder_speaks_bert(tiny_model):
    """101 and 102 open and close a text; 'hello' is 7592 and 'world' 2088 in BERT's vocabulary."""
    assert tiny_model.encoder.encode(["Hello world", ""]) == [[101, 7592, 2088, 102], [101, 102]]


def test_long_texts_are_cut_and_stay_closed(tiny_model, tmp_path):
    tiny_model.encoder.save(tmp_path / "tokenizer.json")
    short = TextEncoder.load(tmp_path / "tokenizer.json", max_tokens=5)
    assert short.encode(["hello " * 50]) == [[101, 7592, 7592, 7592, 102]]


# Training

def test_batches_hold_each_row_once_and_rows_of_like_length():
    import random

    lengths = list(np.random.default_rng(0).integers(2, 100, 1000))
    batches = length_batches(lengths, 16, random.Random(0))
    assert sorted(row for batch in batches for row in batch) == list(range(1000))
    assert max(len(batch) for batch in batches) == 16
    spread = np.mean([np.ptp([lengths[row] for row in batch]) for batch in batches])
    assert spread < 0.2 * np.ptp(lengths)


def test_training_lowers_the_loss_and_repeats_itself_with_the_same_seed(tiny_model, tiny_task):
    rows, labels = tiny_model.encoder.encode(tiny_task.train["text"][:]), tiny_task.train["label"][:]
    states = []
    for _ in range(2):
        module = _copy(tiny_model.module)
        before = _loss(module, rows, labels)
        fine_tune(module, rows, labels, epochs=5, learning_rate=3e-3, seed=3)
        assert _loss(module, rows, labels) < 0.8 * before
        states.append(module.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_training_runs_as_many_steps_as_the_epochs_make(tiny_model, tiny_task):
    """81 rows in batches of 32 are 3 steps an epoch."""
    rows, labels = tiny_model.encoder.encode(tiny_task.train["text"][:]), tiny_task.train["label"][:]
    told = []
    fine_tune(_copy(tiny_model.module), rows, labels, epochs=1.67, learning_rate=1e-4,
              progress=Progress(lambda fraction, message: told.append(fraction)))
    assert told == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


@torch.inference_mode()
def _loss(module, rows, labels) -> float:
    ids, mask = (torch.from_numpy(array) for array in pad(rows))
    return float(torch.nn.functional.cross_entropy(module.eval()(ids, mask), torch.tensor(labels)))


def test_cards_are_not_shared_by_mistake(tiny_model):
    with pytest.raises(dataclasses.FrozenInstanceError):
        tiny_model.card.name = "other"


@pytest.fixture(scope="module")
def minilm_tokenizer():
    from tokenizers import Tokenizer

    from helpers.lab.training.weights import find_weights

    return Tokenizer.from_file(str(find_weights() / "tokenizer.json"))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(st.characters(codec="ascii")) | st.text() | st.sampled_from(
    ["[SEP] x", "it's 5_000.00$!", "caf\u00e9", "x" * 99 + " " + "x" * 101, "a" * 300, "a b " * 100, "\x7f", "a\tb"]),
    max_size=4))
def test_known_words_give_the_tokenizers_own_ids(minilm_tokenizer, texts):
    encoder = TextEncoder(minilm_tokenizer, max_tokens=24)
    for _ in range(2):  # the second time all words are known
        assert encoder.encode(texts) == [minilm_tokenizer.encode(text).ids for text in texts]
