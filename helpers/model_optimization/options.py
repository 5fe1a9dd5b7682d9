"""The changes that can be made to a model. Imports no torch, so that a page's controls can list them."""

STRATEGY = "model optimization"

# scheme -> the runtimes that have it, the first by default
SCHEMES = {
    "fp16": ("pytorch", "openvino"),
    "bf16": ("pytorch", "openvino"),
    "dynamic-int8": ("onnxruntime",),
    "static-int8": ("onnxruntime", "openvino"),
    "weight-only": ("pytorch",),
}

BITS = (2, 3, 4, 5, 6, 7, 8)  # of weights that are stored in few bits

# pruning method -> what `sparsity` is a share of
METHODS = {
    "magnitude": "weights of the model's layers",
    "2:4": "weights of the model's layers (any N:M; the share follows from it)",
    "structured": "multiply-accumulates of the encoder's layers: heads and intermediate neurons, one budget",
    "heads": "multiply-accumulates of the attention",
    "neurons": "multiply-accumulates of the feed-forward parts",
    "layers": "layers",
    "width": "dimensions of the residual stream",
}
