"""What can be pruned. No torch is imported here, so that a page's controls can list it."""

# method -> what `sparsity` is a share of
METHODS = {
    "magnitude": "weights of the encoder's layers",
    "2:4": "weights of the encoder's layers (any N:M; the share follows from it)",
    "structured": "multiply-accumulates of the encoder's layers: heads and columns, one budget",
    "heads": "multiply-accumulates of the attention",
    "columns": "multiply-accumulates of the feed-forward parts",
    "layers": "layers",
    "width": "dimensions of the residual stream",
}
