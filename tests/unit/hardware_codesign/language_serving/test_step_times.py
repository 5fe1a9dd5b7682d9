"""What a file says a step has to do, against its shape; and each point of a real engine on a tiny model."""

import pytest
from tiny_gguf import HEADS, LAYERS, VOCABULARY, WIDTH, tiny_gguf

from helpers.hardware_codesign.language_serving.phase_model import DECODE, PREFILL
from helpers.hardware_codesign.language_serving.step_times import count_steps, measure_phases
from helpers.lab import InputError
from helpers.lab.language.gguf import in_weight_type


def test_a_file_counts_as_its_shape_says():
    counts = count_steps(tiny_gguf())
    kv_width = WIDTH // HEADS
    assert counts.body == LAYERS * (2 * WIDTH * WIDTH + 2 * WIDTH * kv_width + 3 * WIDTH * WIDTH)
    assert counts.head == VOCABULARY * WIDTH
    assert counts.stored == 4 * (counts.body + counts.head)
    assert counts.kv_bytes == 2 * LAYERS * kv_width * 4
    assert counts.attention == 4 * LAYERS * WIDTH
    assert count_steps(in_weight_type(tiny_gguf(), "F16")).stored == counts.stored / 2


def test_each_point_of_a_real_engine_is_timed():
    points = measure_phases(in_weight_type(tiny_gguf(), "F16"), prompts=(16, 64), batches=(1, 4), rounds=1,
                            max_tokens=128)
    assert [tuple(row) for row in points[["phase", "batch", "prompt"]].to_numpy()] == [
        (PREFILL, 1, 16), (PREFILL, 1, 64), (DECODE, 1, 16), (DECODE, 1, 64), (DECODE, 4, 16)]
    assert (points["seconds"] > 0).all()
    assert points["context"].tolist() == [16, 64, 20.5, 68.5, 20.5]


def test_a_grid_without_points_is_refused():
    with pytest.raises(InputError, match="No point has at most 8 tokens"):
        measure_phases(tiny_gguf(), prompts=(16,), max_tokens=8)
