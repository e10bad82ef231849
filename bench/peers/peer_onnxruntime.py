#!/usr/bin/env python3
"""peer_onnxruntime.py MODULES GRAPH IMAGE THREADS: ONNX Runtime's side of compare.py.

MODULES is the directory that holds node_modules. It answers the commands of peer_fastvit.cpp, but for `peak`, and

    numbers FILE    writes the outputs that are single numbers, by name, in JSON: {}

After `picture`, `run` answers two numbers for each run: the milliseconds of Pillow and NumPy, and those of the network.
"""
from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import onnxruntime_c


def peak_memory_mib() -> float:
    """As peer_fastvit.cpp does."""
    found = re.search(r"^VmHWM:\s*(\d+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def answer(value: Any) -> None:
    print(json.dumps(value), flush=True)


class Peer:
    def __init__(self, modules: str, graph: str, image: str, threads: str) -> None:
        pixels = np.fromfile(image, "<f4")
        library = onnxruntime_c.Library(Path(modules))
        before = peak_memory_mib()
        begin = time.perf_counter()
        session = onnxruntime_c.Session(library, Path(graph), int(threads))
        load = time.perf_counter() - begin
        answer({
            "name": f"ONNX Runtime {library.version}",
            "load_ms": 1e3 * load,
            "memory_before_mib": before,
            "memory_loaded_mib": peak_memory_mib(),
        })
        self.network = onnxruntime_c.Call(session)
        self.network.images.ravel()[:] = pixels
        self.picture: Any = None

    def once(self) -> Any:
        """The milliseconds of one run."""
        begin = time.perf_counter()
        if self.picture is not None:
            self.write_input(self.picture, self.network.images[0])
        ready = time.perf_counter()
        self.network.run()
        end = time.perf_counter()
        return 1e3 * (end - begin) if self.picture is None else [1e3 * (ready - begin), 1e3 * (end - ready)]

    def obey(self, command: str, rest: str) -> Any:
        if command == "run":
            warm_up, count = map(int, rest.split())
            return [self.once() for _ in range(warm_up + count)][warm_up:]
        if command == "picture":
            import pillow_input  # only now: without pictures the process has no need of it

            width, height, path = rest.split(" ", 2)
            self.picture = pillow_input.Image.frombytes("RGB", (int(width), int(height)), Path(path).read_bytes())
            self.write_input = pillow_input.write_input
            return {"name": f"Pillow {pillow_input.Image.__version__}"}
        if command == "output":
            self.once()
            Path(rest).write_bytes(b"".join(map(np.ndarray.tobytes, self.network.outputs.values())))
            return [output.size for output in self.network.outputs.values()]
        if command == "numbers":
            self.once()
            numbers = {name: float(output) for name, output in self.network.outputs.items() if output.size == 1}
            Path(rest).write_text(json.dumps(numbers))
            return {}
        if command == "memory":
            return {"memory_peak_mib": peak_memory_mib()}
        raise ValueError(f"unknown command: {command}")


if __name__ == "__main__":
    peer = Peer(*sys.argv[1:])
    for line in sys.stdin:
        command, _, rest = line.rstrip("\n").partition(" ")
        answer(peer.obey(command, rest))
