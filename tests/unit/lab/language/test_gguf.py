"""A file that is written again in another weight type, or with fewer layers."""

import numpy as np
import pytest
from gguf import GGUFReader
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
