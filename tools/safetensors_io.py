#!/usr/bin/env python3
"""Read and write safetensors files with numpy alone.

The format: 8 bytes little-endian header length, a JSON object {name: {dtype, shape, data_offsets}}, the tensors' bytes without
gaps. The optional entry `__metadata__` maps strings to strings.
"""
from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "|u1"}
_NAMES = {np.dtype(code): name for name, code in _DTYPES.items()}


def load(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors of a file, and its metadata."""
    data = Path(path).read_bytes()
    if len(data) < 8:
        raise ValueError(f"{path}: no safetensors file, it has {len(data)} bytes")
    (length,) = struct.unpack("<Q", data[:8])
    if length > len(data) - 8:
        raise ValueError(f"{path}: header of {length} bytes in a file of {len(data)}")
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    body = memoryview(data)[8 + length :]
    tensors = {}
    for name, entry in header.items():
        if entry["dtype"] not in _DTYPES:
            raise ValueError(f"{path}: {name} has the dtype {entry['dtype']}, which this reader lacks")
        begin, end = entry["data_offsets"]
        flat = np.frombuffer(body[begin:end], dtype=_DTYPES[entry["dtype"]])
        tensors[name] = flat.reshape(entry["shape"]).copy()
    return tensors, metadata


def save(path: str | Path, tensors: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> None:
    """Write tensors in the order given. The header is padded with spaces so that the data begin at a multiple of 8."""
    header: dict[str, object] = {"__metadata__": metadata} if metadata else {}
    blobs, offset = [], 0
    for name, tensor in tensors.items():
        array = np.asarray(tensor)
        blob = array.tobytes()  # C order, whatever the strides
        header[name] = {"dtype": _NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [offset, offset + len(blob)]}
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for blob in blobs:
            file.write(blob)
