"""The files that publish the pages: they fit each other, the server's options and what is there; none is built here."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from deploy import audit
from helpers.app.server.__main__ import main

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
NGINX = (DEPLOY / "nginx.conf").read_text()
README = (DEPLOY / "README.md").read_text()


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions and what follows them, continued lines in one."""
    lines = [line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    whole = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in whole.splitlines() if line.strip()]


def last(name: str) -> str:
    return [rest for instruction, rest in instructions() if instruction == name][-1]


@pytest.mark.parametrize("name", SERVICES)
def test_each_container_has_its_limits_and_no_rights(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"] == service["memswap_limit"]
    assert service["cpus"] > 0
    assert service["pids_limit"] > 0
    assert all("size=" in mount for mount in service["tmpfs"])
    assert not {"privileged", "cap_add", "devices", "pid", "ipc", "userns_mode"} & set(service)
    assert not [mount for mount in service["volumes"] if "docker.sock" in mount]


def test_the_pages_have_no_network_and_nginx_alone_has_ports():
    assert SERVICES["apps"]["network_mode"] == "none"
    assert "ports" not in SERVICES["apps"]
    assert SERVICES["proxy"]["ports"] == ["80:80", "443:443"]


def test_volumes_are_declared_and_files_are_there():
    for service in SERVICES.values():
        for mount in service["volumes"]:
            source = mount.split(":")[0]
            if source.startswith("./secrets/"):
                assert "secrets/" in (DEPLOY / ".gitignore").read_text().split()
            else:
                assert source in COMPOSE["volumes"] or (DEPLOY / source).is_file()
    assert (DEPLOY / SERVICES["apps"]["build"]["context"]).resolve() == ROOT
    assert (ROOT / SERVICES["apps"]["build"]["dockerfile"]).is_file()


def test_owner_and_group_of_the_socket_are_those_who_use_it():
    user, group = last("USER").split(":")
    assert user != "0"
    assert f"uid={user},gid={group}," in COMPOSE["volumes"]["door"]["driver_opts"]["o"]
    assert SERVICES["proxy"]["user"].split(":")[1] == group
    assert f"--chown={user}:{group}" in " ".join(rest for _, rest in instructions())


def test_both_stages_stand_on_one_base_with_a_version():
    bases = [rest.split()[0] for instruction, rest in instructions() if instruction == "FROM"]
    assert bases == ["${BASE}", "${BASE}"]
    assert re.fullmatch(r"BASE=python:3\.1[123]-slim-\w+", last("ARG"))
    assert re.fullmatch(r"nginx:\d+\.\d+-\w+", SERVICES["proxy"]["image"])


def test_what_is_copied_is_there_and_let_in():
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    let_in = {line[1:] for line in ignored if line.startswith("!")}
    copied = [rest.split()[:-1] for instruction, rest in instructions() if instruction == "COPY" and "--" not in rest]
    names = {name for names in copied for name in names}
    assert names == let_in
    assert all((ROOT / name).exists() for name in names)
    assert "ADD" not in [instruction for instruction, _ in instructions()]


def test_each_shell_line_of_the_image_is_one_that_a_shell_reads():
    for instruction, rest in instructions():
        if instruction == "RUN":
            assert subprocess.run(["sh", "-n", "-c", rest], capture_output=True).stderr == b""


def test_the_image_starts_the_server_with_options_that_it_has(tmp_path):
    start = json.loads(last("ENTRYPOINT"))
    assert start[1:3] == ["-m", "helpers.app.server"]
    command = [re.sub(r"\$\{\w+:-(.+)\}", r"\1", word) for word in SERVICES["apps"]["command"]]
    assert command[1] in re.findall(r"server_name (\S+);", NGINX)
    with pytest.raises(SystemExit, match="no notebook"):  # past the options
        main([*start[3:], *command, "--notebooks", str(tmp_path)])


def test_nginx_and_the_server_name_one_socket():
    assert f"unix:{json.loads(last('ENTRYPOINT'))[-1]};" in NGINX
    assert "door:/run/apps" in SERVICES["apps"]["volumes"]


def test_the_readme_says_what_each_limit_is_for():
    zones = re.findall(r"zone=(\w+):\d+m", NGINX)
    assert len(zones) == 5
    for zone, rate in re.findall(r"zone=(\w+):\d+m +rate=(\d+)r/", NGINX):
        [said] = [line for line in README.splitlines() if f"`{zone}`" in line]
        assert f" {rate} " in said
        assert re.search(rf"\b{re.search(rf'zone={zone} +burst=([0-9]+)', NGINX)[1]} at once", said.replace(",", ""))
    for name in (*zones, "client_max_body_size", "proxy_read_timeout", "network_mode", "read_only", "mem_limit", "cpus",
                 "memswap_limit", "pids_limit", "init", "HEALTHCHECK"):
        assert f"`{name}" in README, name


def test_every_file_that_the_readme_names_is_there():
    named = re.findall(r"`((?:[\w.-]+/)*[\w.-]+\.(?:py|conf|yaml|md))`", README)
    assert len(named) > 4
    assert [name for name in named if not ((DEPLOY / name).exists() or (ROOT / name).exists())] == []


def test_health_is_asked_of_the_port_that_the_server_takes():
    check = json.loads(last("HEALTHCHECK").split("CMD ")[1])
    assert "http://127.0.0.1:8866/" in check[2]
    compile(check[2], "HEALTHCHECK", "exec")


def test_an_audit_without_a_network_says_so(tmp_path):
    run = subprocess.run([sys.executable, "-m", "deploy.audit"], cwd=ROOT, capture_output=True, text=True, env={
        "PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "UV_OFFLINE": "1", "UV_CACHE_DIR": str(tmp_path / "cache")})
    assert run.returncode == 2, run.stdout + run.stderr
    assert re.match(r"\d{4}-\d\d-\d\d: no database of vulnerabilities could be asked, so nothing was audited \(.+\)",
                    run.stdout)


def test_an_audit_names_what_is_known_and_what_could_not_be_looked_up():
    """The report is as pip-audit's documentation shows one."""
    report = {"dependencies": [
        {"name": "flask", "version": "0.5", "vulns": [
            {"id": "PYSEC-2019-179", "fix_versions": ["1.0"], "aliases": ["CVE-2019-1010083"], "description": "…"},
            {"id": "PYSEC-2018-66", "fix_versions": [], "aliases": [], "description": "…"}]},
        {"name": "jinja2", "version": "3.0.2", "vulns": []}, {"name": "own", "skip_reason": "not found on PyPI"}],
        "fixes": []}
    assert audit.vulnerable(report) == ["flask 0.5: PYSEC-2019-179, fixed in 1.0",
                                        "flask 0.5: PYSEC-2018-66, fixed in no version yet",
                                        "own: not looked up, not found on PyPI"]
