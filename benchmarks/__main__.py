"""Run every benchmark: make bench, or python -m benchmarks [--quick]."""

import subprocess
import sys

ALL = ("quantization", "model_optimization", "efficient_architectures", "hardware_codesign", "data_efficiency",
       "cloud_distributed", "ray_serve", "page")

sys.exit(max(subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *sys.argv[1:]]).returncode for name in ALL))
