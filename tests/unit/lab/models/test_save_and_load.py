"""Saved and loaded, every model predicts the same; damage and mischief are said, and nothing in a file is run."""

import copy
import dataclasses
import json
import shutil
import signal

import numpy as np
import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.naive_bayes import ComplementNB, MultinomialNB
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from transformers import BertConfig, BertModel

from helpers.efficient_architectures import calibrate, ladder
from helpers.efficient_architectures import tune as adapt
from helpers.efficient_architectures.convolutions.image_models import train_images
from helpers.hardware_codesign import make, option
from helpers.lab import InputError, Model, compare, export, load, load_task, tfidf_baseline
from helpers.lab.models.cascade import CascadeModel
from helpers.lab.models.model import Card, folder_bytes
from helpers.lab.models.sklearn import SklearnModel
from helpers.lab.models.torch import TorchTextModel
from helpers.lab.training.weights import find_weights
from helpers.model_optimization import (
    METHODS,
    SCHEMES,
    distill,
    distill_static,
    prune,
    quantization_aware,
    quantize,
)
from helpers.model_optimization.distillation.word_students import distill_linear

RUNTIMES = ["pytorch", "onnxruntime", "openvino", "scikit-learn"]
ARTEFACTS = {"pytorch": "weights.safetensors", "onnxruntime": "model.onnx", "openvino": "model.bin",
             "scikit-learn": "weights.npz"}


# Every model that a function of the package returns

@pytest.fixture(scope="session")
def small_encoder(tmp_path_factory):
    """A folder with MiniLM's tokenizer and the encoder of the tiny model."""
    folder = tmp_path_factory.mktemp("small") / "small-encoder"
    torch.manual_seed(0)
    config = BertConfig(vocab_size=30522, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                        intermediate_size=64, max_position_embeddings=128, initializer_range=0.15)
    BertModel(config).save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes((find_weights() / "tokenizer.json").read_bytes())
    return folder


def fitted(task, *steps):
    pipeline = make_pipeline(*steps).fit(task.train["text"][:], task.train["label"][:])
    return SklearnModel(Card(f"{type(steps[-1]).__name__} behind {type(steps[0]).__name__}", 3), pipeline)


def two_stages(base, task):
    first = tfidf_baseline(task)
    return CascadeModel(Card("two stages", 3), first, quantize(base, task, "dynamic-int8"), threshold=0.6)


def rung(task, step, encoder):
    [model] = ladder(task, [step], encoder=encoder)
    return model


QUANTIZED = {f"quantize: {scheme}, {runtime}": lambda base, task, encoder, kind=(scheme, runtime): quantize(
    base, task, *kind, calibration_rows=8) for scheme, runtimes in SCHEMES.items() for runtime in runtimes}
PRUNED = {f"prune: {method}": lambda base, task, encoder, method=method: prune(
    base, task, method, 0.5 if method != "2:4" else None) for method in METHODS}
CANDIDATES = {f"make: {one.name}": lambda base, task, encoder, one=one: make(base, one, task) for one in (
    option("pytorch", padding=64), option("pytorch", "bf16"), option("pytorch", "int8"),
    option("onnxruntime", micro_batch=64), option("onnxruntime", "int8", streams=2),
    option("openvino", hint="latency"), option("openvino", hint="throughput"), option("openvino", "int8", streams=2))}
PIPELINES = {
    "characters": lambda: (TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4)), LogisticRegression()),
    "naive Bayes": lambda: (CountVectorizer(stop_words=["the", "a"], binary=True), MultinomialNB()),
    "hashed": lambda: (HashingVectorizer(n_features=256, alternate_sign=False), TfidfTransformer(), ComplementNB()),
    "gradient descent": lambda: (TfidfVectorizer(max_features=30), SGDClassifier(loss="log_loss", random_state=0)),
    "singular values": lambda: (TfidfVectorizer(dtype=np.float32), TruncatedSVD(8, random_state=0),
                                LogisticRegression()),
    "words and characters": lambda: (make_union(TfidfVectorizer(), CountVectorizer(analyzer="char")),
                                     LogisticRegression(max_iter=1000))}
SCIKIT = {f"scikit-learn: {name}": lambda base, task, encoder, steps=steps: fitted(task, *steps())
          for name, steps in PIPELINES.items()}
ADAPTED = {f"adapted: {kind}": lambda base, task, encoder, kind=kind: adapt(
    task, kind, rank=2, encoder=encoder, epochs=0.5).model for kind in ("bitfit", "ia3", "lora", "bottleneck")}
EVERY = {
    **QUANTIZED, **PRUNED, **CANDIDATES, **SCIKIT, **ADAPTED,
    "as it is": lambda base, task, encoder: base,
    **{f"export: {runtime}": lambda base, task, encoder, runtime=runtime: export(base, runtime)
       for runtime in ("onnxruntime", "openvino")},
    "export: ONNX Runtime in streams": lambda base, task, encoder: export(base, "onnxruntime", streams=2,
                                                                          micro_batch=3),
    "export: OpenVINO in streams": lambda base, task, encoder: export(base, "openvino", streams=2),
    "quantization-aware": lambda base, task, encoder: quantization_aware(base, task, bits=3, epochs=0.4),
    "calibrated": lambda base, task, encoder: calibrate(base, task),
    "calibrated, packed": lambda base, task, encoder: calibrate(quantize(base, task, "weight-only", bits=4), task),
    "calibrated, static": lambda base, task, encoder: calibrate(rung(task, "static", encoder), task),
    "calibrated, scikit-learn": lambda base, task, encoder: calibrate(tfidf_baseline(task), task),
    "distill": lambda base, task, encoder: distill(base, task, layers=1, augmented=0, epochs=0.4),
    "distill_static": lambda base, task, encoder: distill_static(base, task, dimensions=8, hidden=8, augmented=0,
                                                                 epochs=0.4),
    "distill_linear": lambda base, task, encoder: distill_linear(base, task, augmented=0),
    "a cascade": lambda base, task, encoder: two_stages(base, task),
    "a cascade in a cascade": lambda base, task, encoder: CascadeModel(
        Card("three stages", 3), tfidf_baseline(task), two_stages(base, task), threshold=0.5),
    **{f"ladder: {step}": lambda base, task, encoder, step=step: rung(task, step, encoder) for step in (
        "majority", "tfidf", "static", "zero-shot", "frozen", "contrastive")},
}


@pytest.mark.parametrize("name", EVERY)
def test_every_model_predicts_the_same_after_a_reload(tiny_model, tiny_task, small_encoder, texts, tmp_path, name):
    model = EVERY[name](tiny_model, tiny_task, small_encoder)
    model.save(tmp_path)
    loaded = load(tmp_path)
    np.testing.assert_array_equal(loaded.predict(texts), model.predict(texts))
    assert (loaded.card, type(loaded)) == (json_card(model.card), type(model))
    if not name.startswith(("scikit-learn", "a cascade")):  # this test's own cards
        assert json.loads((tmp_path / "model.json").read_text())["labels"] == list(tiny_task.labels)


def json_card(card: Card) -> Card:
    """The card with lists where its settings have tuples."""
    return dataclasses.replace(card, settings=json.loads(json.dumps(card.settings)))


@pytest.mark.parametrize("design", ["standard", "inverted residual, squeeze-excite", "MobileNetV2"])
def test_every_image_model_predicts_the_same_after_a_reload(tmp_path, design):
    task = load_task("digits").take(train=60)
    model = train_images(task, design, width=0.5, epochs=1)
    model.save(tmp_path)
    images = task.test["image"][:40]
    np.testing.assert_array_equal(load(tmp_path).predict(images), model.predict(images))


@pytest.mark.slow
def test_a_compiled_model_is_compiled_again_when_it_is_loaded(tiny_model, texts, tmp_path):
    model = make(tiny_model, option("compiled"))
    model.save(tmp_path)
    np.testing.assert_allclose(load(tmp_path).predict(texts), model.predict(texts), atol=1e-5)
    assert type(load(tmp_path)) is type(model)


def test_models_of_any_class_are_compared_with_their_peak_memory(tiny_model, tiny_task, small_encoder):
    lora = adapt(tiny_task, "lora", rank=2, encoder=small_encoder, epochs=0.5).model
    padded = make(tiny_model, option("pytorch", padding=64))
    frame = compare([tiny_model, padded, lora], tiny_task, rows=6, rounds=2, energy=False).frame()
    assert (frame["peak_mb"] > 50).all()


# What cannot be restored

def injected(base):
    """The tiny model with LoRA's layers in it, which its configuration says nothing of."""
    module = copy.deepcopy(base.module)
    inject_adapter_in_model(LoraConfig(r=2, target_modules=["query"]), module.encoder)
    return TorchTextModel(base.card, base.encoder, module)


@pytest.mark.parametrize(("build", "sentence"), [
    (lambda base, task: fitted(task, TfidfVectorizer(tokenizer=str.split, token_pattern=None), LogisticRegression()),
     "holds a method_descriptor, which could only be read back by running code"),
    (lambda base, task: fitted(task, TfidfVectorizer(), DecisionTreeClassifier()), "holds a DecisionTreeClassifier"),
    (lambda base, task: fitted(task, TfidfVectorizer(), FunctionTransformer(), LogisticRegression()),
     "holds a FunctionTransformer"),
    (lambda base, task: make(make(base, option("pytorch", "int8")), option("pytorch", padding=64)),
     "it was made from 'PyTorch int8', which is stored in another way"),
    (lambda base, task: injected(base), "its configuration does not describe the weights 'encoder.*query"),
    (lambda base, task: TorchTextModel(base.card, base.encoder, torch.nn.Sequential(base.module)),
     "a Sequential is a module that `load` does not know how to build")])
def test_what_could_not_be_loaded_again_is_refused_at_save(tiny_model, tiny_task, tmp_path, build, sentence):
    with pytest.raises(InputError, match=f"cannot be saved: .*{sentence}"):
        build(tiny_model, tiny_task).save(tmp_path)


def test_a_pipeline_without_log_probabilities_is_refused(tiny_task):
    with pytest.raises(InputError, match="ends in a LinearSVC, which gives no log-probabilities"):
        fitted(tiny_task, TfidfVectorizer(), LinearSVC())


# Cards and folders

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


# Damage and mischief

def change_facts(folder, **changes):
    facts = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(facts | changes))


STOPPED = {"pytorch": "helpers.lab.models.torch.save_weights", "onnxruntime": "shutil.copyfile",
           "openvino": "openvino.save_model", "scikit-learn": "numpy.savez"}


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_save_that_is_stopped_over_an_older_model_leaves_none(models, copied, runtime, monkeypatch):
    """Else a new card would stand beside old weights, and be loaded."""
    def stopped(*_arguments, **_more):
        raise KeyboardInterrupt

    folder = copied(runtime)
    with monkeypatch.context() as patched:
        patched.setattr(STOPPED[runtime], stopped)
        with pytest.raises(KeyboardInterrupt):
            models[runtime].save(folder)
    with pytest.raises(InputError, match="The folder 'copy' holds no readable model"):
        load(folder)
    models[runtime].save(folder)
    assert load(folder).card == models[runtime].card


@pytest.mark.parametrize("runtime", RUNTIMES[:3])
def test_a_disk_that_is_full_while_a_model_is_saved_is_said_and_leaves_none(models, tmp_path, runtime):
    """A limit on the size of files is met as a full disk is; the tokenizer still fits, and the weights do not."""
    resource = pytest.importorskip("resource", reason="limits of a process are Unix's")
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, before[1]))
    try:
        with pytest.raises(InputError, match=r"cannot be written \(.+\)\. Free some disk space"):
            models[runtime].save(tmp_path / "model")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (tmp_path / "model" / "tokenizer.json").stat().st_size < 2_000_000
    with pytest.raises(InputError, match="The folder 'model' holds no readable model"):
        load(tmp_path / "model")
    models[runtime].save(tmp_path / "model")
    assert load(tmp_path / "model").card == models[runtime].card


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_all_files_of_a_model_may_be_read_by_whom_the_umask_lets(models, tmp_path, runtime):
    """safetensors' own files are for their user alone."""
    (tmp_path / "plain").touch()
    models[runtime].save(tmp_path / "model")
    modes = {path.name: path.stat().st_mode for path in (tmp_path / "model").iterdir()}
    assert set(modes.values()) == {(tmp_path / "plain").stat().st_mode}, modes


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
    np.savez(folder / "weights.npz", **arrays | {"array0": np.array([Explosive(tmp_path / "ran")], dtype=object)})
    with pytest.raises(InputError, match="damaged or incomplete"):
        load(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["Explosive", "mischief.Model", "FunctionTransformer"])
def test_a_pipeline_holds_known_estimators_only(copied, name):
    folder = copied("scikit-learn")
    text = (folder / "pipeline.json").read_text()
    assert '"LogisticRegression"' in text
    (folder / "pipeline.json").write_text(text.replace("LogisticRegression", name))
    with pytest.raises(InputError, match="damaged or incomplete"):
        load(folder)
