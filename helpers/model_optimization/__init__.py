"""Strategy 1: quantization, pruning, distillation, and what they give together: the same task with cheaper weights."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "quantization.schemes": ["quantize"],
    "options": ["SCHEMES", "METHODS"],
    "quantization.weight_only": ["quantization_aware", "sensitivity"],
    "quantization.int8_speed": ["explain_speed", "crossover", "operator_times", "paper_speedup", "int8_gain"],
    "quantization.saturating_products": ["saturation"],
    "pruning.methods": ["prune"],
    "pruning.unstructured": ["compressed_bytes"],
    "distillation.distilling": ["distill", "distill_with_control"],
    "distillation.static_student": ["distill_static"],
    "distillation.linear_student": ["distill_linear"],
    "pipelines.first_stage": ["cascade"],
    "language_model.causal": ["train_language_model", "load_language_model", "LanguageModel"],
    "language_model.perplexity": ["surprise"],
    "language_model.weight_bits": ["quantize_language_model", "bits_against_perplexity"],
    "language_model.kv_cache": ["cache_in_8_bits"],
    "pipelines.steps": ["build"],
    "pipelines.cumulative": ["stack", "Stack"],
    "pipelines.searching": ["search"],
})
