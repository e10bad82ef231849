"""ONNX Runtime's C API by ctypes, as much of it as the comparison needs.

Debian has no package of ONNX Runtime, and npm's has the shared library inside it. So Python calls it without a layer between them, in
the process that also has Pillow and NumPy. Nothing is released: a session lives as long as its process.
"""
from __future__ import annotations

import ctypes
import platform
from pathlib import Path
from typing import Any

import numpy as np

API_VERSION = 1
# Where each function stands in the structure OrtApi, which only ever grows at its end.
FUNCTIONS = {
    "GetErrorMessage": 2,
    "CreateEnv": 3,
    "CreateSession": 7,
    "Run": 9,
    "CreateSessionOptions": 10,
    "SetSessionExecutionMode": 13,
    "SetSessionGraphOptimizationLevel": 23,
    "SetIntraOpNumThreads": 24,
    "SetInterOpNumThreads": 25,
    "SessionGetOutputCount": 31,
    "SessionGetInputTypeInfo": 33,
    "SessionGetOutputTypeInfo": 34,
    "SessionGetInputName": 36,
    "SessionGetOutputName": 37,
    "CreateTensorWithDataAsOrtValue": 49,
    "CastTypeInfoToTensorInfo": 55,
    "GetDimensionsCount": 61,
    "GetDimensions": 62,
    "CreateCpuMemoryInfo": 69,
    "GetAllocatorWithDefaultOptions": 78,
}
LOG_WARNINGS, SEQUENTIAL, ALL_OPTIMIZATIONS, FLOAT, ARENA_ALLOCATOR, DEFAULT_MEMORY = 2, 0, 99, 1, 1, 0


class Base(ctypes.Structure):
    _fields_ = [
        ("get_api", ctypes.CFUNCTYPE(ctypes.POINTER(ctypes.c_void_p), ctypes.c_uint32)),
        ("get_version", ctypes.CFUNCTYPE(ctypes.c_char_p)),
    ]


class Library:
    def __init__(self, modules: Path) -> None:
        """`modules` is the directory that holds node_modules."""
        machine = {"x86_64": "x64", "aarch64": "arm64"}[platform.machine()]  # in the words of Node
        (library,) = (modules / "node_modules/onnxruntime-node/bin").glob(f"*/linux/{machine}/libonnxruntime.so.1")
        get_base = ctypes.CDLL(str(library)).OrtGetApiBase
        get_base.restype = ctypes.POINTER(Base)
        base = get_base().contents
        self.version = base.get_version().decode()
        table = base.get_api(API_VERSION)
        self.functions = {name: ctypes.CFUNCTYPE(ctypes.c_void_p)(table[i]) for name, i in FUNCTIONS.items()}
        self.functions["GetErrorMessage"].restype = ctypes.c_char_p
        self.environment = self.made("CreateEnv", LOG_WARNINGS, b"peer")
        self.memory = self.made("CreateCpuMemoryInfo", ARENA_ALLOCATOR, DEFAULT_MEMORY)
        self.allocator = self.made("GetAllocatorWithDefaultOptions")

    def call(self, name: str, *arguments: Any) -> None:
        status = self.functions[name](*arguments)
        if status:
            raise RuntimeError(f"{name}: {self.functions['GetErrorMessage'](ctypes.c_void_p(status)).decode()}")

    def made(self, name: str, *arguments: Any) -> ctypes.c_void_p:
        """What a function writes to its last argument: a pointer, or a number as long."""
        result = ctypes.c_void_p()
        self.call(name, *arguments, ctypes.byref(result))
        return result


class Session:
    """A graph, loaded. Any number of threads may run it at once, each with a Call of its own."""

    def __init__(self, library: Library, graph: Path, threads: int) -> None:
        self.library = library
        settings = library.made("CreateSessionOptions")
        library.call("SetSessionExecutionMode", settings, SEQUENTIAL)
        library.call("SetSessionGraphOptimizationLevel", settings, ALL_OPTIMIZATIONS)
        library.call("SetIntraOpNumThreads", settings, threads)
        library.call("SetInterOpNumThreads", settings, 1)
        self.session = library.made("CreateSession", library.environment, str(graph).encode(), settings)
        count = library.made("SessionGetOutputCount", self.session).value or 0
        self.input = self.value("Input", 0)
        self.outputs = [self.value("Output", i) for i in range(count)]

    def value(self, kind: str, index: int) -> tuple[bytes, tuple[int, ...]]:
        """The name and shape of an input or output."""
        library, number = self.library, ctypes.c_size_t(index)
        name = ctypes.cast(library.made(f"SessionGet{kind}Name", self.session, number, library.allocator), ctypes.c_char_p)
        info = library.made("CastTypeInfoToTensorInfo", library.made(f"SessionGet{kind}TypeInfo", self.session, number))
        dims = (ctypes.c_int64 * (library.made("GetDimensionsCount", info).value or 0))()
        library.call("GetDimensions", info, dims, ctypes.c_size_t(len(dims)))
        return name.value or b"", tuple(dims)


class Call:
    """The memory of the graph's input and outputs: write `images`, run(), read `outputs`, by name."""

    def __init__(self, session: Session) -> None:
        self.library = session.library
        names = [name for name, _ in session.outputs]
        self.images = np.zeros(session.input[1], np.float32)
        results = [np.zeros(shape, np.float32) for _, shape in session.outputs]
        self.outputs = dict(zip((name.decode() for name in names), results))
        size = ctypes.c_size_t
        self.arguments = (
            session.session,
            None,
            (ctypes.c_char_p * 1)(session.input[0]),
            (ctypes.c_void_p * 1)(self.tensor(self.images)),
            size(1),
            (ctypes.c_char_p * len(names))(*names),
            size(len(names)),
            (ctypes.c_void_p * len(names))(*map(self.tensor, results)),
        )

    def tensor(self, array: np.ndarray) -> int | None:
        """A view of the array."""
        dims = (ctypes.c_int64 * array.ndim)(*array.shape)
        data, size = ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t
        return self.library.made(
            "CreateTensorWithDataAsOrtValue", self.library.memory, data, size(array.nbytes), dims, size(array.ndim), FLOAT
        ).value

    def run(self) -> None:
        self.library.call("Run", *self.arguments)
