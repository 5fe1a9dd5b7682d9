"""Folders of models from elsewhere: read whole, or refused in a sentence of this package, whatever is wrong there."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from architectures import ARCHITECTURES, SIZES, build, make_tokenizer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from helpers.lab import InputError, baseline, find_weights, load, load_pretrained
from helpers.lab.models.torch import position_limit
from helpers.lab.training.checkpoints import content_digest
from helpers.lab.training.heads import pretrained


@pytest.fixture(scope="module")
def whole(tiny_task, tmp_path_factory):
    """A folder with a small BERT that knows the tiny task's labels; not to be changed."""
    folder = tmp_path_factory.mktemp("checkpoints") / "small-bert"
    build("bert", folder, tiny_task.train["text"][:], tiny_task.labels)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "my-model"))


def change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_weights(folder: Path, **changes: Any) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file(weights | {name: change(weights[name]) for name, change in changes.items()},
              folder / "model.safetensors", metadata={"format": "pt"})


# What a model is

@pytest.mark.parametrize(("changes", "sentence"), [
    ({"problem_type": "multi_label_classification"}, r"gives several labels to a text .*; here a text has one"),
    ({"problem_type": "regression"}, r"gives one number for a text \(regression\), not a label"),
    ({"id2label": {"0": "score"}, "label2id": {"score": 0}}, r"gives one number for a text"),
    ({"architectures": ["BertForTokenClassification"]}, "no head for classifying texts .it is a BertForTokenClassif"),
    ({"architectures": ["BertForQuestionAnswering"]}, "no head for classifying texts"),
    ({"architectures": ["BertForMaskedLM"]}, "no head for classifying texts"),
    ({"architectures": None}, "it is a model of no named kind"),
    ({"architectures": 7}, "my-model")])
def test_a_head_that_gives_no_single_label_is_refused(folder, tiny_task, changes, sentence):
    change(folder / "config.json", **changes)
    with pytest.raises(InputError, match=sentence):
        load_pretrained(folder, tiny_task)


@pytest.mark.parametrize(("kind", "sizes"), [
    ("BartConfig", {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
                    "decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}),
    ("T5Config", {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2})])
def test_an_encoder_with_a_decoder_is_refused_as_either(tiny_task, tmp_path, fresh_home, kind, sizes):
    tokenizer = make_tokenizer(tiny_task.train["text"][:], 1, True)
    config = getattr(transformers, kind)(**sizes, vocab_size=len(tokenizer), id2label=dict(enumerate(tiny_task.labels)))
    transformers.AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "both")
    tokenizer.save_pretrained(tmp_path / "both")
    for call in (lambda: load_pretrained(tmp_path / "both", tiny_task), lambda: baseline(tiny_task, tmp_path / "both")):
        with pytest.raises(InputError, match=r"is a (bart|t5), an encoder with a decoder behind it"):
            call()


def test_a_model_of_images_is_refused_as_an_encoder(tiny_task, tmp_path, fresh_home):
    config = transformers.ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
                                    image_size=32, patch_size=16)
    transformers.ViTModel(config).save_pretrained(tmp_path / "eyes")
    make_tokenizer(tiny_task.train["text"][:], 1, True).save_pretrained(tmp_path / "eyes")
    with pytest.raises(InputError, match=r"The model in 'eyes' \(a vit\) does not answer on the tokens of a text"):
        baseline(tiny_task, tmp_path / "eyes")


# What the files hold

@pytest.mark.parametrize(("damage", "sentence"), [
    (lambda f: (f / "config.json").write_text("{"), "its config.json cannot be read"),
    (lambda f: (f / "config.json").write_text("[1]"), "its config.json cannot be read .*a JSON object is expected"),
    (lambda f: (f / "tokenizer.json").write_text('{"model": 1}'), "its tokenizer.json cannot be read"),
    (lambda f: (f / "tokenizer_config.json").write_text('{"pad'), "its tokenizer_config.json cannot be read"),
    (lambda f: change(f / "config.json", num_hidden_layers=10**9), "num_hidden_layers is 1,000,000,000, which"),
    (lambda f: change(f / "config.json", hidden_size=10**12), "hidden_size is 1,000,000,000,000, which does not fit"),
    (lambda f: change(f / "config.json", intermediate_size=10**8), "asks for [0-9,]+ numbers, and the weights hold"),
    (lambda f: change(f / "config.json", max_position_embeddings=10**7), "max_position_embeddings is 10,000,000"),
    (lambda f: change(f / "config.json", hidden_size=-1), "The model in 'my-model' cannot be read"),
    (lambda f: change(f / "config.json", layer_norm_eps="small"), "configuration .* field 'layer_norm_eps'"),
    (lambda f: change(f / "config.json", chunk_size_feed_forward=2), r"\(a bert\) does not answer on the tokens"),
    (lambda f: change(f / "config.json", vocab_size=8), "cannot be read .*mismatch|lacks weights"),
    (lambda f: change_weights(f, **{"classifier.weight": lambda w: w * torch.nan}),
     "The weights 'classifier.weight' in 'my-model' hold values that are not finite"),
    (lambda f: change_weights(f, **{"bert.encoder.layer.0.output.dense.weight": lambda w: w.to(torch.int8)}),
     "'bert.encoder.layer.0.output.dense.weight' in 'my-model' are stored as I8, not as floating-point numbers"),
    (lambda f: (f / "adapter_config.json").write_text("{}"), r"holds an adapter .*merge_and_unload")])
def test_damage_is_said_in_a_sentence(folder, tiny_task, damage, sentence):
    damage(folder)
    with pytest.raises(InputError, match=sentence):
        load_pretrained(folder, tiny_task)


def test_a_tokenizer_of_another_model_is_refused(folder, tiny_task):
    shutil.copy(find_weights() / "tokenizer.json", folder)
    with pytest.raises(InputError, match=r"has token numbers up to 30521, the model knows \d+ tokens"):
        load_pretrained(folder, tiny_task)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_widths_are_read_as_fp32(folder, tiny_task, kind):
    names = list(load_file(folder / "model.safetensors"))
    change_weights(folder, **dict.fromkeys(names, lambda weight: weight.to(kind)))
    weights = load_pretrained(folder, tiny_task).module.state_dict()
    assert {weight.dtype for weight in weights.values() if weight.is_floating_point()} == {torch.float32}


@pytest.mark.parametrize(("files", "sentence"), [
    ({"pytorch_model.bin": "model.safetensors"}, "a pickle that could run code .* save_pretrained"),
    ({"pytorch_model-00001-of-00002.bin": "model.safetensors"}, "a pickle that could run code .* save_pretrained"),
    ({"model.json": "config.json"}, r"has no config.json. It was saved by this package: load\(folder\) reads it"),
    ({"adapter_config.json": "config.json"}, r"has no config.json. It holds an adapter: .*merge_and_unload"),
    ({"vocab.txt": "tokenizer.json"}, r"has no tokenizer.json. It has vocab.txt: AutoTokenizer.from_pretrained")])
def test_a_folder_in_another_form_is_refused_with_the_way_to_this_one(folder, tiny_task, files, sentence):
    for name, before in files.items():
        (folder / before).rename(folder / name)
    with pytest.raises(InputError, match=sentence):
        load_pretrained(folder, tiny_task)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_nobody_waits_for_a_pipe(folder, tiny_task, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(InputError, match=f"The model folder 'my-model' has no {name}"):
        load_pretrained(folder, tiny_task)


# Weights in several files

@pytest.fixture
def sharded(folder):
    transformers.AutoModelForSequenceClassification.from_pretrained(folder).save_pretrained(
        folder, max_shard_size="20KB")
    (folder / "model.safetensors").unlink()
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    return folder


def test_weights_in_several_files_answer_as_those_in_one(sharded, whole, tiny_task):
    texts = tiny_task.test["text"][:]
    np.testing.assert_array_equal(load_pretrained(sharded, tiny_task).predict(texts),
                                  load_pretrained(whole, tiny_task).predict(texts))


def test_a_missing_part_of_the_weights_is_named(sharded, tiny_task):
    part = sorted(sharded.glob("model-*.safetensors"))[1]
    part.unlink()
    with pytest.raises(InputError, match=f"{part.name}, which model.safetensors.index.json names, is missing"):
        load_pretrained(sharded, tiny_task)


@pytest.mark.parametrize("name", ["../elsewhere.safetensors", "/etc/passwd", "code.py", "a/b.safetensors"])
def test_an_index_that_names_files_elsewhere_is_refused(sharded, tiny_task, name):
    index = sharded / "model.safetensors.index.json"
    weights = json.loads(index.read_text())["weight_map"]
    change(index, weight_map=weights | {next(iter(weights)): name})
    with pytest.raises(InputError, match=f"names '{name}', which is no safetensors file of this folder"):
        load_pretrained(sharded, tiny_task)


@pytest.mark.parametrize("index", ["{}", "[]", "{", '{"weight_map": {}}', '{"weight_map": 3}'])
def test_a_damaged_index_is_said(sharded, tiny_task, index):
    (sharded / "model.safetensors.index.json").write_text(index)
    with pytest.raises(InputError, match=r"model\.safetensors\.index\.json"):
        load_pretrained(sharded, tiny_task)


def test_files_that_are_links_are_read_and_links_to_nothing_are_missing_files(whole, tiny_task, tmp_path):
    """The Hub's cache holds links to its blobs."""
    (tmp_path / "linked").mkdir()
    for path in whole.iterdir():
        (tmp_path / "linked" / path.name).symlink_to(path)
    assert load_pretrained(tmp_path / "linked", tiny_task).card.name == "linked fp32, PyTorch"
    (tmp_path / "linked" / "config.json").unlink()
    (tmp_path / "linked" / "config.json").symlink_to(tmp_path / "linked" / "config.json")
    with pytest.raises(InputError, match=r"The model folder 'linked' has no config\.json"):
        load_pretrained(tmp_path / "linked", tiny_task)


# Contents

def test_a_copy_has_the_same_digest_and_changed_contents_another(folder, whole):
    assert content_digest(folder) == content_digest(whole)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"):
        before, times = content_digest(folder), (folder / name).stat()
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        os.utime(folder / name, ns=(times.st_atime_ns, times.st_mtime_ns))  # neither size nor time shows it
        assert content_digest(folder) != before


# How many tokens a model reads

OTHERS = {
    "rotary": ("RoFormerConfig", {"max_position_embeddings": 40}),
    "nystrom": ("NystromformerConfig", {"max_position_embeddings": 40, "segment_means_seq_len": 40,
                                        "num_landmarks": 40}),
    "opt": ("OPTConfig", {"max_position_embeddings": 40, "ffn_dim": 64, "word_embed_proj_dim": 32}),
    "gpt-neo": ("GPTNeoConfig", {"num_layers": 2, "num_heads": 4, "max_position_embeddings": 40,
                                 "attention_types": [[["global"], 2]]}),
    "roberta-prelayernorm": ("RobertaPreLayerNormConfig", {"max_position_embeddings": 42}),
    "camembert": ("CamembertConfig", {"max_position_embeddings": 42}),
    "ibert": ("IBertConfig", {"max_position_embeddings": 42}),
    "deberta without places": ("DebertaV2Config", {"position_biased_input": False, "relative_attention": True,
                                                   "pos_att_type": ["p2c"], "max_position_embeddings": 40})}
FREE = {"modernbert", "llama", "qwen2", "deberta without places"}  # rotary or relative


@pytest.mark.parametrize("name", [*ARCHITECTURES, *OTHERS])
def test_a_position_limit_is_the_longest_row_that_the_model_answers(name):
    kind, sizes = ARCHITECTURES[name][:2] if name in ARCHITECTURES else OTHERS[name]
    config = getattr(transformers, kind)(**(SIZES if name in OTHERS else {}) | sizes, vocab_size=50, pad_token_id=1)
    module = AutoModel.from_config(config).eval()
    limit = position_limit(module)
    assert (limit is None) == (name in FREE)

    def answers(tokens):
        try:
            return bool(module(input_ids=torch.full((1, tokens), 7)).last_hidden_state.isfinite().all())
        except (IndexError, RuntimeError):
            return False

    lengths = range(30, 80)
    assert [answers(length) for length in lengths] == [limit is None or length <= limit for length in lengths]


def test_minilm_reads_256_tokens_unless_told_otherwise():
    """As its authors' sentence_bert_config.json says; it has positions for 512."""
    assert pretrained()[1].max_tokens == 256
    assert pretrained(max_length=512)[1].max_tokens == 512
    with pytest.raises(InputError, match="has positions for 512 tokens: max_length=512 at most, not 513"):
        pretrained(max_length=513)


def test_a_classifier_reads_as_many_tokens_as_it_has_positions_for(folder, tiny_task):
    assert load_pretrained(folder, tiny_task).encoder.max_tokens == 64
    change(folder / "tokenizer_config.json", model_max_length=40)
    assert load_pretrained(folder, tiny_task).encoder.max_tokens == 40
    long = load_pretrained(folder, tiny_task, max_length=64)
    assert np.isfinite(long.predict(["cat and dog " * 60])).all()
    for wrong in (0, -3, 2.5, "64"):
        with pytest.raises(InputError, match="max_length is a number of tokens"):
            load_pretrained(folder, tiny_task, max_length=wrong)
    with pytest.raises(InputError, match=r"max_length=2 leaves no room for a text .* give 3 or more"):
        load_pretrained(folder, tiny_task, max_length=2)


# Any damage at all

JSON = ("config.json", "tokenizer_config.json", "tokenizer.json", "model.json", "sentence_bert_config.json",
        "model.safetensors.index.json")
ODD = st.sampled_from([None, True, False, 0, -1, 1, 2, 3, 7, 10**6, 10**9, 10**30, -10**9, 1e308, float("nan"), 0.5, "",
                       "x", "bert", "roberta", "gpt2", "llama", "../x", [], [1], ["a", "b", "c"], {}, {"a": 1},
                       {"0": "animals"}, "LABEL_0", "gelu", "float16", "eager", "\ud800", [[[[[]]]]]])


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """Paths to all values in JSON; of long lists and large objects, the first few."""
    items = (list(value.items()) if isinstance(value, dict) else list(enumerate(value))
             if isinstance(value, list) else [])
    return [(*path, key) for key, _ in items[:60]] + [
        place for key, inner in items[:60] for place in places(inner, (*path, key))]


def mutate(folder: Path, draw: Any) -> None:
    """One change to one file of a model's folder."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    if not files:
        return
    path = draw(st.sampled_from(files))
    how = draw(st.sampled_from([*["value"] * 3, "key", "remove", "truncate", "byte", "swap", "empty", "folder"]))
    content = path.read_bytes()
    if how in ("value", "key") and path.name in JSON:
        try:
            tree = json.loads(content)
        except ValueError:
            return
        if not (known := places(tree)):
            return
        place = draw(st.sampled_from(known))
        parent = tree
        for key in place[:-1]:
            parent = parent[key]
        if how == "key":
            del parent[place[-1]]
        else:
            parent[place[-1]] = draw(ODD)
        path.write_text(json.dumps(tree))
    elif how == "remove":
        path.unlink()
    elif how == "truncate":
        path.write_bytes(content[:draw(st.integers(0, max(0, len(content) - 1)))])
    elif how == "byte" and content:
        place = draw(st.one_of(st.integers(0, min(300, len(content) - 1)), st.integers(0, len(content) - 1)))
        path.write_bytes(content[:place] + bytes([draw(st.integers(0, 255))]) + content[place + 1:])
    elif how == "swap":
        other = draw(st.sampled_from(files))
        path.write_bytes(other.read_bytes())
        other.write_bytes(content)
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "folder":
        path.unlink()
        path.mkdir()


@pytest.fixture(scope="module")
def saved(whole, tiny_task, tmp_path_factory):
    """The same model as this package saves it."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    load_pretrained(whole, tiny_task).save(folder)
    return folder


FUZZ = settings(max_examples=int(os.environ.get("FUZZ_EXAMPLES", "100")), deadline=None,
                suppress_health_check=list(HealthCheck))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["from elsewhere", "our own"])
@FUZZ
@given(data=st.data())
def test_only_a_sentence_leaves_a_damaged_folder(whole, saved, tiny_task, tmp_path_factory, kind, data):
    folder = tmp_path_factory.mktemp("fuzz") / "model"
    shutil.copytree(whole if kind == "from elsewhere" else saved, folder)
    for _ in range(data.draw(st.integers(1, 3))):
        mutate(folder, data.draw)
    try:
        model = load_pretrained(folder, tiny_task) if kind == "from elsewhere" else load(folder)
        logits = model.predict(["a cat and a hammer", "", "rain"])
    except InputError:
        return
    finally:
        shutil.rmtree(folder.parent)
    assert logits.shape == (3, 3)
