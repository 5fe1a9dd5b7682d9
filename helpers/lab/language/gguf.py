"""GGUF files: read, and written again with their matrices in another weight type or with fewer layers."""

import hashlib
import mmap
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from helpers.lab.errors import InputError, reason
from helpers.lab.paths import cache, replacing
from helpers.lab.progress import Progress, silent

if TYPE_CHECKING:
    from gguf import GGUFReader, ReaderTensor


FILE_TYPES = {"F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7}  # weight type -> general.file_type of GGUF
# Of values in the metadata, by the numbers of their types in https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # bytes
_TEXT, _ARRAY = 8, 9
_MAX_VALUES = 2**21  # in an array; the largest there are have a value for each token


def read_gguf(path: Path) -> "GGUFReader":
    """The metadata and tensors of a GGUF file, in mapped memory.

    Raises:
        InputError: it is none, or it was cut short.
    """
    from gguf import GGUFReader

    _require_file(path)
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise InputError(f"'{path.name}' is no GGUF file: its first four letters are not 'GGUF'.")
    try:
        _require_sound(path)
        return GGUFReader(path)
    except MemoryError:
        raise
    except Exception as error:  # whatever damaged bytes come to in the reader
        raise InputError(f"The GGUF file '{path.name}' is damaged or was cut short ({reason(error)}). Get it again."
                         ) from error


def _require_sound(path: Path) -> None:
    """Walk over the metadata once: the reader counts for as long as a damaged length says, and decodes texts late."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw:
        version, _, fields = struct.unpack_from("<IQQ", raw, 4)
        if version not in (2, 3):
            raise ValueError(f"its version is {version}, and 2 and 3 can be read")
        at, architecture = 24, False
        for _ in range(fields):
            name, at = _text(raw, at)
            [kind] = struct.unpack_from("<I", raw, at)
            architecture |= name == "general.architecture" and kind == _TEXT
            at = _after(raw, at + 4, kind)
    if not architecture:
        raise ValueError("it does not say its architecture")


def _text(raw: mmap.mmap, at: int) -> tuple[str, int]:
    """A text in the metadata, and where it ends."""
    [length] = struct.unpack_from("<Q", raw, at)
    if (end := at + 8 + length) > len(raw):
        raise ValueError("a text ends behind the file")
    return raw[at + 8:end].decode(), end


def _after(raw: mmap.mmap, at: int, kind: int) -> int:
    """Where a value of the metadata ends."""
    if kind == _TEXT:
        return _text(raw, at)[1]
    if kind != _ARRAY:
        return at + _SIZES[kind]
    inner, count = struct.unpack_from("<IQ", raw, at)
    if count > _MAX_VALUES:
        raise ValueError(f"an array has {count:,} values")
    at += 12
    if inner in _SIZES:
        at += count * _SIZES[inner]
    else:
        for _ in range(count):
            at = _after(raw, at, inner)
    if at > len(raw):
        raise ValueError("an array ends behind the file")
    return at


def gguf_digest(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits.

    Raises:
        InputError: it is a folder, or there is none.
    """
    _require_file(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"'{path.name}' is no GGUF file{' but a folder' if path.is_dir() else ''}: name a .gguf file.")


def rewrite_gguf(source: Path, target: Path, kind: str, progress: Progress = silent, *,
                 weights: Mapping[str, np.ndarray] | None = None, layers: int | None = None) -> None:
    """Write a GGUF file again with its matrices in another type of `gguf.quants`; metadata kept.

    Vectors, and matrices whose rows are no whole blocks of that type, are written in fp32.

    Args:
        kind: "F16", "Q8_0", "Q4_0" or "Q4_1".
        weights: tensor -> numbers that take the place of the file's own.
        layers: only so many, from the first one on; None: all.

    Raises:
        InputError: an unknown type, a file that is no GGUF, or one that has other tensors than `weights`.
        Cancelled: the caller of `progress` wants an end; nothing is left of the file.
    """
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType, GGUFWriter
    from gguf.quants import quantize

    if kind not in FILE_TYPES:
        raise InputError(f"Unknown weight type '{kind}'. Choose one of: {', '.join(FILE_TYPES)}.")
    reader = read_gguf(source)
    weights = weights or {}
    stored = {tensor.name: tuple(map(int, reversed(tensor.shape))) for tensor in reader.tensors}
    if strange := sorted(name for name, array in weights.items() if stored.get(name) != array.shape):
        raise InputError(f"'{source.name}' is of another model: it has no tensor '{strange[0]}' of the shape "
                         f"{weights[strange[0]].shape}.")
    changed = {"general.file_type": FILE_TYPES[kind]} | ({} if layers is None else {_layers_key(reader): layers})
    tensors = [tensor for tensor in reader.tensors if layers is None or _layer_of(tensor.name) < layers]
    with replacing(target) as file:
        writer = GGUFWriter(file, reader.fields["general.architecture"].contents())
        for name, field in reader.fields.items():
            if name.startswith("GGUF.") or name == "general.architecture":
                continue
            value = changed.get(name, field.contents())
            inner = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
            writer.add_key_value(name, value, field.types[0], sub_type=inner)
        for index, tensor in enumerate(tensors):
            progress(index / len(tensors), f"writing {target.name}: {tensor.name}")
            array = weights.get(tensor.name)
            if array is None:
                array = _numbers(source, tensor)
            whole_blocks = array.ndim == 2 and array.shape[1] % GGML_QUANT_SIZES[GGMLQuantizationType[kind]][0] == 0
            of_type = GGMLQuantizationType[kind if whole_blocks else "F32"]
            writer.add_tensor(tensor.name, quantize(array.astype(np.float32), of_type), raw_dtype=of_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def _numbers(source: Path, tensor: "ReaderTensor") -> np.ndarray:
    """A tensor's values in floating point."""
    from gguf.quants import dequantize

    try:
        return dequantize(tensor.data, tensor.tensor_type)
    except NotImplementedError:
        raise InputError(f"'{source.name}' holds '{tensor.name}' as {tensor.tensor_type.name}, which cannot be read "
                         f"here: take a file in one of {', '.join(FILE_TYPES)}.") from None


def layer_count(path: Path) -> int:
    """The layers of a model in a GGUF file.

    Raises:
        InputError: no GGUF file, or one that does not say it.
    """
    reader = read_gguf(path)
    if (key := _layers_key(reader)) not in reader.fields:
        raise InputError(f"'{path.name}' does not say how many layers it has: name a GGUF file of a language model.")
    return int(reader.fields[key].contents())


def _layers_key(reader: "GGUFReader") -> str:
    return f"{reader.fields['general.architecture'].contents()}.block_count"


def _layer_of(tensor: str) -> int:
    """The number of the layer that a tensor is in; -1 of what is in none."""
    kind, *rest = tensor.split(".")
    return int(rest[0]) if kind == "blk" and rest[:1] and rest[0].isdecimal() else -1


def in_weight_type(path: Path, kind: str, progress: Progress = silent, *, layers: int | None = None) -> Path:
    """The same model in another weight type, written once and kept in the cache.

    Args:
        layers: only so many, from the first one on; None: all.

    Raises:
        InputError: an unknown type, no GGUF file, or no room for another.
        Cancelled: the caller of `progress` wants an end.
    """
    digest = gguf_digest(path)[:16]
    cut = "" if layers is None else f"-{layers}-layers"
    target = cache("language", f"{path.stem.split('.')[0]}-{digest}{cut}.{kind}.gguf")
    if not target.is_file():
        try:
            rewrite_gguf(path, target, kind, progress, layers=layers)
        except OSError as error:
            raise InputError(f"'{target.name}' cannot be written ({error.strerror}): free some disk space, or set "
                             "HELPERS_HOME to a folder that you may write to.") from error
    return target
