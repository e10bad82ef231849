#!/usr/bin/env python3
"""embed_onnxruntime.py MODULES GRAPH FOLDER ARRAY THREADS: what `fastvit embed FOLDER --output ARRAY` does, by Pillow and ONNX Runtime.

Each thread takes a picture through decoding, resizing and the network, which then has one thread: many pictures take less time so than
one after the other on all cores, since Pillow uses one core. Neither holds Python's lock while it computes.
"""
from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import onnxruntime_c
import pillow_input


def main(modules: str, graph: str, folder: str, array: str, threads: str) -> None:
    session = onnxruntime_c.Session(onnxruntime_c.Library(Path(modules)), Path(graph), 1)
    of_thread = threading.local()

    def start() -> None:
        of_thread.network = onnxruntime_c.Call(session)

    def embed(path: Path) -> np.ndarray:
        network = of_thread.network
        with pillow_input.Image.open(path) as picture:
            pillow_input.write_input(picture.convert("RGB"), network.images[0])
        network.run()
        return network.outputs["embedding"][0].copy()

    with ThreadPoolExecutor(int(threads), initializer=start) as pool:
        np.save(array, np.stack(list(pool.map(embed, sorted(Path(folder).iterdir())))))


if __name__ == "__main__":
    main(*sys.argv[1:])
