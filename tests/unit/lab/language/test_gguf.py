"""A file that is written again in another weight type, or with fewer layers."""

import random
import struct
import time

import numpy as np
import psutil
import pytest
from damaged_files import FUZZED, damaged
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
from gguf.quants import dequantize
from tiny_gguf import LAYERS, small_gguf, tiny_gguf

from helpers.lab import Cancelled, InputError
from helpers.lab.language.gguf import in_weight_type, layer_count, read_gguf, rewrite_gguf
from helpers.lab.progress import Progress


def test_a_file_written_in_another_type_keeps_its_weights_within_a_step(tmp_path):
    source = small_gguf(tmp_path / "source.gguf")
    before = {tensor.name: tensor.data for tensor in read_gguf(source).tensors}
    for kind, steps in (("F16", 2000), ("Q8_0", 127), ("Q4_0", 8)):
        rewrite_gguf(source, tmp_path / f"{kind}.gguf", kind)
        reader = GGUFReader(tmp_path / f"{kind}.gguf")
        assert reader.fields["llama.context_length"].contents() == 64
        for tensor in reader.tensors:
            after = dequantize(tensor.data, tensor.tensor_type)
            assert tensor.tensor_type.name == (kind if after.ndim == 2 else "F32")
            assert np.abs(after - before[tensor.name]).max() <= np.abs(before[tensor.name]).max() / steps
    with pytest.raises(InputError, match="Unknown weight type 'Q5_K'"):
        rewrite_gguf(source, tmp_path / "other.gguf", "Q5_K")
    assert not (tmp_path / "other.gguf").exists()


def test_a_file_with_fewer_layers_keeps_the_first_ones_as_they_are(tmp_path):
    source = tiny_gguf()
    rewrite_gguf(source, tmp_path / "cut.gguf", "F16", layers=1)
    assert (layer_count(source), layer_count(tmp_path / "cut.gguf")) == (LAYERS, 1)
    before = {tensor.name: tensor for tensor in read_gguf(source).tensors}
    kept = {tensor.name: tensor for tensor in read_gguf(tmp_path / "cut.gguf").tensors}
    assert set(before) - set(kept) == {name for name in before if name.startswith("blk.1.")}
    for name, tensor in kept.items():
        np.testing.assert_allclose(dequantize(tensor.data, tensor.tensor_type), before[name].data, atol=1e-3)
    with pytest.raises(InputError, match="does not say how many layers"):
        layer_count(small_gguf(tmp_path / "small.gguf"))


def test_a_file_half_written_when_an_end_is_wanted_leaves_nothing(tmp_path):
    source, steps = small_gguf(tmp_path / "source.gguf"), []
    progress = Progress(lambda _fraction, message: steps.append(message), lambda: bool(steps))
    with pytest.raises(Cancelled):
        rewrite_gguf(source, tmp_path / "other.gguf", "Q8_0", progress)
    assert [path.name for path in tmp_path.iterdir()] == ["source.gguf"]


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path):
    other = tmp_path / "other.gguf"
    for work in (lambda: rewrite_gguf(tmp_path, other, "F16"), lambda: in_weight_type(tmp_path, "F16"),
                 lambda: read_gguf(tmp_path)):
        with pytest.raises(InputError, match=r"is no GGUF file but a folder: name a \.gguf file"):
            work()


def test_rows_that_are_no_whole_blocks_stay_as_they_are_and_unreadable_types_are_said(tmp_path):
    odd = np.arange(8 * 13, dtype=np.float32).reshape(8, 13)
    writer = GGUFWriter(tmp_path / "odd.gguf", "llama")
    writer.add_tensor("blk.0.attn_q.weight", odd)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    rewrite_gguf(tmp_path / "odd.gguf", tmp_path / "other.gguf", "Q8_0")
    [tensor] = read_gguf(tmp_path / "other.gguf").tensors
    np.testing.assert_array_equal(tensor.data, odd)
    content = (tmp_path / "odd.gguf").read_bytes()
    place = content.index(b"blk.0.attn_q.weight") + len("blk.0.attn_q.weight") + 4 + 2 * 8  # dimensions, their sizes
    (tmp_path / "odd.gguf").write_bytes(content[:place] + struct.pack("<I", GGMLQuantizationType.I32)
                                        + content[place + 4:])
    with pytest.raises(InputError, match=r"holds 'blk.0.attn_q.weight' as I32, which cannot be read here: take"):
        rewrite_gguf(tmp_path / "odd.gguf", tmp_path / "other.gguf", "Q8_0")


@pytest.fixture
def with_a_vocabulary(tmp_path):
    """A file whose metadata has texts, arrays, and some of every other kind of value."""
    writer = GGUFWriter(tmp_path / "whole.gguf", "llama")
    writer.add_block_count(2)
    writer.add_token_list([f"token {number}" for number in range(23)])
    writer.add_token_types([1] * 23)
    writer.add_bool("llama.yes", True)
    writer.add_float64("llama.half", 0.5)
    for layer in range(2):
        writer.add_tensor(f"blk.{layer}.attn_q.weight", np.ones((8, 32), np.float32))
        writer.add_tensor(f"blk.{layer}.attn_norm.weight", np.ones(32, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tmp_path / "whole.gguf"


def test_a_damaged_file_is_read_or_refused_in_a_sentence_soon_and_without_growth(with_a_vocabulary, tmp_path):
    whole, chance, path = with_a_vocabulary.read_bytes(), random.Random(0), tmp_path / "damaged.gguf"
    head, slowest, refused, before = whole.index(np.ones(32, np.float32).tobytes()), 0.0, 0, 0
    for number in range(FUZZED):
        path.write_bytes(damaged(whole[:head], chance) + whole[head:])
        began = time.thread_time()
        try:
            layer_count(path)
            rewrite_gguf(path, tmp_path / "other.gguf", "Q8_0", layers=1)
        except InputError:
            refused += 1
        if number > 100:  # libraries are loaded by then
            before = before or psutil.Process().memory_info().rss
            slowest = max(slowest, time.thread_time() - began)
    assert FUZZED / 4 < refused < FUZZED
    assert slowest < 1
    assert psutil.Process().memory_info().rss - before < 100e6


@pytest.mark.parametrize(("old", "new", "said"), [
    (struct.pack("<Q", 23), struct.pack("<Q", 2**50), "an array has 1,125,899,906,842,624 values"),
    (struct.pack("<Q", 23), struct.pack("<Q", 2**20), "ends behind the file"),
    (b"general.architecture", b"general.arkhitecture", "does not say its architecture"),
    (b"token 7", b"token \xff", "can't decode"), (b"GGUF\x03", b"GGUF\x09", "its version is 9")])
def test_what_is_wrong_with_a_file_is_said(old, new, said, with_a_vocabulary):
    content = with_a_vocabulary.read_bytes()
    assert old in content
    with_a_vocabulary.write_bytes(content.replace(old, new))
    with pytest.raises(InputError, match=f"is damaged or was cut short .*{said}"):
        read_gguf(with_a_vocabulary)
