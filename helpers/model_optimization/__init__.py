"""Strategy 1: quantization, pruning, distillation, and what they give together: the same task with cheaper weights."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "quantization.schemes": ["quantize"],
    "options": ["METHODS", "SCHEMES"],
    "quantization.weight_only": ["quantization_aware", "sensitivity"],
    "quantization.int8_speed": ["explain_speed", "crossover", "operator_times", "paper_speedup", "int8_gain"],
    "quantization.saturating_products": ["saturation"],
    "pruning.methods": ["prune"],
    "encoder.parts": ["anatomy"],
    "pruning.unstructured": ["compressed_bytes"],
    "distillation.distilling": ["distill", "distill_with_control"],
    "distillation.training": ["soft_target_loss"],
    "distillation.word_students": ["distill_static"],
    "distillation.specialists": ["people_labelled", "teach_specialist", "teach_tagger"],
    "language_model.weight_types": ["beside_tables", "bits_against_perplexity", "bits_against_speed",
                                    "round_group"],
    "language_model.kv_cache": ["cache_in_8_bits"],
    "language_model.depth": ["depth_against_perplexity"],
    "language_model.data_aware": ["data_aware_rounding"],
    "language_model.tuned_weights": ["bits_against_extraction"],
    "pipelines.steps": ["build"],
    "pipelines.cumulative": ["cumulative_gains"],
    "pipelines.searching": ["search"],
})
