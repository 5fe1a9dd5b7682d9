"""Strategy 1: quantization, pruning, distillation, and what they give together: the same task with cheaper weights."""

from helpers.lab.exports import lazily

_HOME = {
    "quantize": "quantization", "SCHEMES": "schemes",
    "quantization_aware": "weight_only",
    "sensitivity": "sensitivities",
    "explain_speed": "int8_speed", "crossover": "int8_speed", "operator_times": "int8_speed",
    "paper_speedup": "int8_speed", "int8_gain": "int8_speed",
    "saturation": "saturated",
    "prune": "pruning", "METHODS": "granularities", "compressed_bytes": "unstructured",
    "distill": "distillation", "distill_with_control": "distillation", "distill_static": "static_student",
    "distill_linear": "linear_student",
    "cascade": "cascades",
    "train_language_model": "language_model", "load_language_model": "language_model",
    "LanguageModel": "language_model", "surprise": "language_quality",
    "quantize_language_model": "language_weights", "bits_against_perplexity": "language_weights",
    "cache_in_8_bits": "language_cache",
    "build": "pipelines", "stack": "stacking", "Stack": "stacking", "search": "searching",
}
__all__ = sorted(_HOME)
__getattr__ = lazily(__name__, _HOME)
