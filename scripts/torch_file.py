# SPDX-License-Identifier: MIT
"""Reads files of torch.save without torch and without running what is in them: zip archive, restricted unpickler, strided tensors."""
import io
import itertools
import math
import pickle
import pickletools
import re
import struct
import zipfile


class ImportFailure(Exception):
    """A message for the user."""


# ---- The restricted unpickler: of what it puts on the stack, a pickle can call the three functions of GLOBALS and change nothing. ----


class Inert:
    """Base of all objects that a pickle can get hold of: refuses to have its state set."""
    __slots__ = ()

    def __setstate__(self, state):
        raise ImportFailure(f"the pickle sets the state of a {type(self).__name__}")


class Dict(dict):
    """Stands for OrderedDict; its attributes (_metadata of a state_dict) are ignored."""
    __slots__ = ()

    def __setstate__(self, state):
        pass


class StorageType(Inert):
    __slots__ = ("dtype", "size")

    def __init__(self, dtype, size):
        self.dtype, self.size = dtype, size  # name in safetensors, bytes an element


class Storage(Inert):
    __slots__ = ("type", "key", "count")

    def __init__(self, type_, key, count):
        self.type, self.key, self.count = type_, key, count


class Tensor(Inert):
    __slots__ = ("storage", "offset", "shape", "stride")

    def __init__(self, storage, offset, shape, stride):
        self.storage, self.offset, self.shape, self.stride = storage, offset, shape, stride

    @property
    def count(self):
        return math.prod(self.shape)

    @property
    def bytes(self):
        return self.count * self.storage.type.size


class Function(Inert):
    __slots__ = ("body",)

    def __init__(self, body):
        self.body = body

    def __call__(self, *arguments):
        return self.body(*arguments)


def make_dict(items=()):
    return Dict(items)


def rebuild_tensor(storage, offset, shape, stride, requires_grad=False, hooks=None, metadata=None):
    sizes = (*shape, *stride, offset) if isinstance(shape, tuple) and isinstance(stride, tuple) else (None,)
    if not isinstance(storage, Storage) or any(type(n) is not int or n < 0 for n in sizes) or len(shape) != len(stride) or len(shape) > 32:
        raise ImportFailure("a tensor of the pickle is malformed")
    tensor = Tensor(storage, offset, shape, stride)
    last = offset + sum((n - 1) * s for n, s in zip(shape, stride))  # index of the last element
    if tensor.count > 0 and (last >= storage.count or tensor.count > storage.count):
        raise ImportFailure(f"a tensor of shape {list(shape)} does not fit its storage {storage.key} of {storage.count} elements")
    return tensor


def rebuild_parameter(tensor, requires_grad=False, hooks=None):
    if not isinstance(tensor, Tensor):
        raise ImportFailure("a parameter of the pickle is malformed")
    return tensor


STORAGES = {
    "FloatStorage": StorageType("F32", 4), "DoubleStorage": StorageType("F64", 8), "HalfStorage": StorageType("F16", 2),
    "BFloat16Storage": StorageType("BF16", 2), "LongStorage": StorageType("I64", 8), "IntStorage": StorageType("I32", 4),
    "ShortStorage": StorageType("I16", 2), "CharStorage": StorageType("I8", 1), "ByteStorage": StorageType("U8", 1),
    "BoolStorage": StorageType("BOOL", 1),
}
GLOBALS = {
    ("collections", "OrderedDict"): Function(make_dict),
    ("torch._utils", "_rebuild_tensor_v2"): Function(rebuild_tensor),
    ("torch._utils", "_rebuild_parameter"): Function(rebuild_parameter),
    **{("torch", name): kind for name, kind in STORAGES.items()},
}


class RestrictedUnpickler(pickle.Unpickler):
    def find_class(self, module, name):
        try:
            return GLOBALS[module, name]
        except (KeyError, TypeError):
            raise ImportFailure(
                f"refused: the pickle asks for {module}.{name}, which is neither a tensor nor a plain container. If you trust the file, save "
                "its weights alone in Python: torch.save({'state_dict': torch.load(FILE, weights_only=False)['state_dict']}, NEW)") from None

    def persistent_load(self, pid):
        if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage" and isinstance(pid[1], StorageType)
                and isinstance(pid[2], str) and type(pid[4]) is int and pid[4] >= 0):
            raise ImportFailure(f"refused: a persistent id that is not a storage: {str(pid)[:100]}")
        if not re.fullmatch(r"[0-9]{1,9}", pid[2]):
            raise ImportFailure(f"refused: a storage with the name {pid[2][:100]!r}; expected a number")
        return Storage(pid[1], pid[2], pid[4])


def check_opcodes(data):
    """What could exhaust memory before any of our code is asked: memo slots far beyond the number of objects; extension codes."""
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument > count:
            raise ImportFailure(f"refused: the pickle's memo jumps to {argument}")
        if opcode.name.startswith("EXT"):
            raise ImportFailure(f"refused: the pickle uses extension code {argument}")


def unpickle(data):
    try:
        check_opcodes(data)
        return RestrictedUnpickler(io.BytesIO(data)).load()
    except ImportFailure:
        raise
    except Exception as error:  # whatever a damaged pickle makes of the unpickler
        raise ImportFailure(f"damaged pickle: {type(error).__name__}: {error}") from None


# ---- The zip around it. ----


class Checkpoint:
    """A file of torch.save: data.pkl and one entry for each storage, none of them compressed."""

    def __init__(self, path):
        with open(path, "rb") as file:
            start = file.read(16)
        if start[:2] != b"PK":
            if start[:1] == b"\x80":
                raise ImportFailure("the old torch.save format without a zip; load and save it once with torch 1.6 or newer")
            raise ImportFailure("not a file of torch.save: it does not start like a zip archive")
        try:
            self.archive = zipfile.ZipFile(path)
            self.entries = {}
            for entry in self.archive.infolist():
                if entry.filename in self.entries:
                    raise ImportFailure(f"damaged zip archive: two entries {entry.filename}")
                self.entries[entry.filename] = entry
        except (zipfile.BadZipFile, struct.error, OSError, ValueError, NotImplementedError) as error:
            raise ImportFailure(f"damaged or truncated zip archive: {error}") from None
        pickles = [n for n in self.entries if n == "data.pkl" or n.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ImportFailure(f"expected one data.pkl in the archive, found {len(pickles)}; is it a file of torch.save?")
        self.folder = pickles[0][: -len("data.pkl")]
        if self.folder + "byteorder" in self.entries and self.read(self.folder + "byteorder") != b"little":
            raise ImportFailure("the tensors are not little-endian")
        self.content = unpickle(self.read(pickles[0]))
        self.cached = (None, b"")

    def read(self, name, size=None):
        entry = self.entries.get(name)
        if entry is None:
            raise ImportFailure(f"the archive has no entry {name}")
        if entry.compress_type != zipfile.ZIP_STORED:
            raise ImportFailure(f"the archive's entry {name} is compressed; torch.save does not do that")
        if size is not None and entry.file_size != size:
            raise ImportFailure(f"the archive's entry {name}: expected {size} bytes, got {entry.file_size}")
        try:
            data = self.archive.read(entry)
        except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError, RuntimeError, struct.error) as error:
            raise ImportFailure(f"damaged zip archive: {name}: {error}") from None
        if len(data) != entry.file_size:
            raise ImportFailure(f"truncated zip archive: {name}: expected {entry.file_size} bytes, got {len(data)}")
        return data

    def data(self, tensor):
        """Little-endian bytes of the tensor, contiguous."""
        storage = tensor.storage
        if self.cached[0] != storage.key:
            self.cached = (storage.key, self.read(f"{self.folder}data/{storage.key}", storage.count * storage.type.size))
        return gather(self.cached[1], storage.type.size, tensor.offset, tensor.shape, tensor.stride)


def gather(data, size, offset, shape, stride):
    """Elements of a strided view, in row-major order."""
    if math.prod(shape) == 0:
        return b""
    dims = [(n, s) for n, s in zip(shape, stride) if n != 1]
    contiguous = 1
    while dims and dims[-1][1] == contiguous:  # dimensions that are one run of memory
        contiguous *= dims.pop()[0]
    run, step = contiguous, 1
    if contiguous == 1 and dims:
        run, step = dims.pop()
    view = memoryview(data).cast({1: "B", 2: "H", 4: "I", 8: "Q"}[size])
    starts = itertools.product(*(range(0, n * s, s) if s else (0,) * n for n, s in dims))
    if step == 0:
        return b"".join(view[offset + sum(start):][:1].tobytes() * run for start in starts)
    return b"".join(view[offset + sum(start):][: (run - 1) * step + 1 : step].tobytes() for start in starts)
