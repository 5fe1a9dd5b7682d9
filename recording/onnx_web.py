"""Take ONNX Runtime for browsers into the package: python -m recording.onnx_web, once for each version of it.

The files are Microsoft's own, as the npm registry has them; nothing is changed but that they are packed. Of its builds
this is the smallest one: a CPU's operators alone, no GPU.
"""

import base64
import gzip
import hashlib
import subprocess
import tarfile
import tempfile
from pathlib import Path

from helpers.app.panels.on_device import RUNTIME_SCRIPT, RUNTIME_WASM
from helpers.lab.paths import write_atomically

PACKAGE = "onnxruntime-web"
VERSION = "1.30.0"
# SHA-512 of the package, as the registry names it.
INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
# Shipped file -> where the package has it, and its SHA-256 there.
FILES = {
    RUNTIME_SCRIPT: ("package/dist/ort.wasm.bundle.min.mjs",
                     "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90"),
    RUNTIME_WASM: ("package/dist/ort-wasm-simd-threaded.wasm",
                   "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"),
}


def build() -> None:
    """Fetch the package, check it, and write the two files, packed.

    Raises:
        SystemExit: the package or a file of it is another one than it was.
    """
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", "--silent", f"{PACKAGE}@{VERSION}"], cwd=folder, check=True,
                       stdout=subprocess.DEVNULL)
        [archive] = Path(folder).glob("*.tgz")
        _require("the package", base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode(), INTEGRITY)
        with tarfile.open(archive) as package:
            for target, (name, digest) in FILES.items():
                content = package.extractfile(name).read()
                _require(name, hashlib.sha256(content).hexdigest(), digest)
                write_atomically(target, gzip.compress(content, 9, mtime=0))


def _require(what: str, actual: str, wanted: str) -> None:
    if actual != wanted:
        raise SystemExit(f"{what} of {PACKAGE} {VERSION} is not the one that was checked in: its digest is {actual}.")


if __name__ == "__main__":
    build()
    print("\n".join(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB" for path in FILES))
