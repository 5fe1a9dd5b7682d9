"""Steps of pipelines that take the tests no time."""


CUT = {"step": "prune", "method": "neurons", "sparsity": 0.5, "importance": "magnitude"}
ZEROS = {"step": "prune", "method": "magnitude", "sparsity": 0.5}
DISTIL = {"step": "distill", "layers": 1, "augmented": 0, "epochs": 0.5}
