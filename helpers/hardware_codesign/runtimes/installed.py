"""Installation needed to serve a model, and to make it: packages, their bytes, seconds of importing."""

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pandas as pd
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from helpers.lab.errors import InputError

_TRAINED = ("torch", "transformers")
STACKS = {  # a stack -> what serves, beside it what makes the file that is served
    "PyTorch with transformers": (_TRAINED, _TRAINED),
    "ONNX Runtime with tokenizers": (("onnxruntime", "tokenizers"), (*_TRAINED, "onnx", "onnxscript", "onnxruntime")),
    "OpenVINO with tokenizers": (("openvino", "tokenizers"), (*_TRAINED, "openvino", "nncf")),
}
Find = Callable[[str], Distribution]


def required_packages(names: Sequence[str], find: Find = distribution) -> dict[str, Distribution]:
    """Packages and all that they require on this machine, by name: the closure of their metadata.

    Args:
        names: of packages, as pip knows them.
        find: gives a package's metadata by its name, or raises PackageNotFoundError.

    Returns:
        Name (lower case, hyphens) -> metadata. Requirements of other machines, and extras that nobody asked for, are
        left out.

    Raises:
        InputError: a package, or one that it requires, is not installed.

    >>> from helpers.hardware_codesign.runtimes.installed import required_packages
    >>> "numpy" in required_packages(["onnxruntime"])
    True
    """
    distributions, seen, waiting = {}, set(), [Requirement(name) for name in names]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        for extra in ("", *sorted(wanted.extras)):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            distributions[name] = _installed(name, find)
            requires = [Requirement(line) for line in distributions[name].requires or ()]
            waiting += [one for one in requires if _applies(one, extra)]
    return distributions


def _installed(name: str, find: Find) -> Distribution:
    try:
        return find(name)
    except PackageNotFoundError:
        raise InputError(f"The package '{name}' is not installed here: install it, or count a stack without it."
                         ) from None


def _applies(requirement: Requirement, extra: str) -> bool:
    """Whether a requirement holds here: for an extra, only what the extra adds."""
    if requirement.marker is None:
        return not extra
    without = requirement.marker.evaluate({"extra": ""})
    return requirement.marker.evaluate({"extra": extra}) and not without if extra else without


def installed_bytes(package: Distribution) -> int:
    """Bytes on disk of a package's files, as its record lists them; compiled caches (.pyc) are left out."""
    paths = [Path(str(package.locate_file(file))) for file in package.files or () if file.suffix != ".pyc"]
    return sum(path.stat().st_size for path in paths if path.is_file())


def import_seconds(modules: Sequence[str]) -> float:
    """Seconds that a fresh Python takes to import modules, one run; its own start is not counted.

    Raises:
        InputError: a module that cannot be imported.

    >>> from helpers.hardware_codesign import import_seconds
    >>> import_seconds(["json"]) < 10
    True
    """
    program = ("import sys, time, importlib; began = time.perf_counter(); "
               "[importlib.import_module(name) for name in sys.argv[1:]]; print('s', time.perf_counter() - began)")
    run = subprocess.run([sys.executable, "-c", program, *modules], capture_output=True, text=True, check=False)
    if run.returncode:
        raise InputError(f"{' and '.join(modules)} cannot be imported ({run.stderr.strip().splitlines()[-1]}): name "
                         "installed modules.")
    return float(run.stdout.split()[-1])


def compare_installed(stacks: Mapping[str, tuple[Sequence[str], Sequence[str]]] = STACKS,
                      find: Find = distribution) -> pd.DataFrame:
    """List what each stack needs on disk where it serves, and where its file is made.

    Args:
        stacks: name -> (packages that serve, packages that make).
        find: as in `required_packages`.

    Returns:
        A row a stack: stack, packages and megabytes to serve, make_packages and make_megabytes.

    Raises:
        InputError: a package is not installed.

    >>> from helpers.hardware_codesign import compare_installed
    >>> list(compare_installed({"tokenizers": (["tokenizers"], ["tokenizers"])})["stack"])
    ['tokenizers']
    """
    closures = {name: [required_packages(part, find) for part in parts] for name, parts in stacks.items()}
    packages = {name: one for parts in closures.values() for part in parts for name, one in part.items()}
    sizes = {name: installed_bytes(one) / 1e6 for name, one in packages.items()}  # each is looked at once
    rows = [(name, *(figure for part in parts for figure in (len(part), sum(sizes[one] for one in part))))
            for name, parts in closures.items()]
    return pd.DataFrame(rows, columns=["stack", "packages", "megabytes", "make_packages", "make_megabytes"])


def installed_verdict(frame: pd.DataFrame) -> str:
    """Which stack serves with the least on disk, and where it is not simpler: what making its file needs.

    Args:
        frame: what `compare_installed` returned; its first row is the reference.
    """
    first, least = frame.iloc[0], frame.loc[frame["megabytes"].idxmin()]
    if least["stack"] == first["stack"]:
        return (f"Nothing is simpler than {first['stack']}: {first['packages']} packages, "
                f"{first['megabytes']:,.0f} MB on disk.")
    fewer = least["packages"] < first["packages"]
    more_mb = least["make_megabytes"] - first["make_megabytes"]
    more = least["make_packages"] - first["make_packages"]
    return (f"{least['stack']} serves with {least['megabytes']:,.0f} MB and {least['packages']} packages, "
            f"{first['stack']} with {first['megabytes']:,.0f} MB and {first['packages']}: "
            f"{first['megabytes'] / least['megabytes']:.1f} times less on disk, "
            f"{'fewer' if fewer else 'no fewer'} packages. "
            + (f"Making it is not simpler: {more} packages and {more_mb:,.0f} MB more than training alone."
               if more > 0 else "Making it needs no more packages than training does."))
