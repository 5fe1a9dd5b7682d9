"""What can be quantized how. No torch is imported here, so that a page's controls can list it."""

# scheme -> the runtimes that have it, the first by default
SCHEMES = {
    "fp16": ("pytorch", "openvino"),
    "bf16": ("pytorch", "openvino"),
    "dynamic-int8": ("onnxruntime",),
    "static-int8": ("onnxruntime", "openvino"),
    "weight-only": ("pytorch",),
}
