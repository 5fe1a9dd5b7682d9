"""A model for a browser: the graph as it is, the tokenizer taken apart, and the server's own answers."""

import dataclasses
import unicodedata

import numpy as np
import onnxruntime
import pytest
from tokenizers import Tokenizer

from helpers.hardware_codesign import for_the_browser, option
from helpers.hardware_codesign.runtimes import on_device
from helpers.hardware_codesign.runtimes.on_device import MAX_TEXTS, tokenizer_parts
from helpers.lab import InputError
from helpers.lab.data.tokenizer import TextEncoder
from helpers.lab.models.onnx import OnnxTextModel


@pytest.fixture(scope="module")
def int8(made) -> OnnxTextModel:
    return made(option("onnxruntime", "int8"))


@pytest.fixture(scope="module")
def portable(int8, texts):
    return for_the_browser(int8, texts, rounds=2)


def test_the_graph_alone_gives_the_answers(portable, int8, texts):
    session = onnxruntime.InferenceSession(portable.graph)
    rows = int8.encoder.encode(texts)
    alone = [session.run(["logits"], {"input_ids": np.array([row]), "attention_mask": np.ones((1, len(row)), np.int64)}
                         )[0][0] for row in rows]
    assert portable.logits.dtype == np.float32
    assert (np.argmax(alone, axis=1) == portable.logits.argmax(axis=1)).mean() > 0.9  # 8 bits depend on the batch
    assert portable.labels == ("animals", "tools", "weather")
    assert (portable.alone_s > 0).all()
    assert portable.texts_per_s > 0


def test_an_int8_model_takes_a_byte_a_weight(portable, tiny_model):
    assert len(portable.graph) == pytest.approx(tiny_model.card.parameters, rel=0.15)


def test_the_vocabulary_is_in_the_order_of_its_numbers(portable, int8):
    library = Tokenizer.from_str(int8.encoder.to_json())
    assert [library.token_to_id(portable.pieces[number]) for number in (0, 999, 12_345, 30_521)] == [0, 999, 12_345,
                                                                                                    30_521]
    assert (portable.rules["before"], portable.rules["after"]) == tuple(int8.encoder.encode([""])[0])


def test_signs_are_dropped_or_stand_alone_as_unicode_has_them(portable):
    """Of the old signs, on which all versions of Unicode agree; ASCII's symbols count as punctuation, too."""
    def of(name):
        return {code for low, high in portable.rules[name] for code in range(low, high + 1)}

    latin = range(0x250)
    kinds = {code: unicodedata.category(chr(code)) for code in (*latin, *range(0x300, 0x370))}
    assert {code for code in kinds if code in of("dropped")} == {
        code for code, kind in kinds.items() if kind in ("Cc", "Cf", "Mn") and chr(code) not in "\t\n\r"}
    assert {code for code in latin if code in of("alone")} == {
        code for code in latin if kinds[code][0] == "P" or (code < 128 and kinds[code][0] == "S")}


@pytest.mark.parametrize("count", [0, MAX_TEXTS + 1])
def test_too_many_texts_or_none_are_refused(int8, count):
    with pytest.raises(InputError, match=f"1 to {MAX_TEXTS} texts, not {count}"):
        for_the_browser(int8, ["a"] * count)


def test_another_runtimes_model_is_refused(tiny_model):
    with pytest.raises(InputError, match="A browser runs ONNX graphs"):
        for_the_browser(tiny_model, ["a"])


def test_a_model_that_is_too_large_is_refused(int8, monkeypatch):
    monkeypatch.setattr(on_device, "MAX_GRAPH_BYTES", 1_000_000)
    with pytest.raises(InputError, match="a browser is sent 1 MB at most"):
        for_the_browser(int8, ["a"])


@pytest.mark.parametrize("change", [
    ('"lowercase":true', '"lowercase":false'), ('"normalized":false', '"normalized":true'),
    ('"clean_text":true', '"clean_text":false'), ('"strip_accents":null', '"strip_accents":false')])
def test_another_tokenizer_is_refused(int8, change):
    text = Tokenizer.from_str(int8.encoder.to_json()).to_str()
    assert change[0] in text
    other = TextEncoder(Tokenizer.from_str(text.replace(*change)))
    stranger = OnnxTextModel(dataclasses.replace(int8.card, name="other"), other, int8.graph)
    with pytest.raises(InputError, match="BERT's tokenizer for lower case alone"):
        tokenizer_parts(stranger)
