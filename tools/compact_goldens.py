#!/usr/bin/env python3
"""Make tests/data/goldens and tests/data/keys from the complete outputs and tensor lists of the official implementations.

    compact_goldens.py GOLDENS [--out tests/data]

GOLDENS/outputs holds SOURCE_VARIANT_nN_HxW_sSEED.safetensors, GOLDENS/keys holds SOURCE_VARIANT_{train,reparam}.json;
tests/data/README.md says what they are. The whole outputs are 6 MB, too much for a repository, so only those of T8 and SA12 at
64 x 64 stay whole. Of the others' feature maps every n-th element stays; n is prime and divides no dimension, so that the samples
fall on every row, column and channel. Logits stay whole everywhere.

A sampled tensor T is stored flat, and the metadata say what it was: `T.shape`, `T.step` (element i is T.flat[i * step]) and
`T.largest`, the largest absolute value of all elements, which tolerances refer to.
"""
from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import numpy as np

import safetensors_io

WHOLE = re.compile(r"\w+_(t8|sa12)_n1_64x64_s1")
KEYS = re.compile(r"(apple|timm)_(\w+?)_(train|reparam)")
LISTED = "sa12"  # the variant whose names are kept, not just their digest: attention and RepMixer, and the fewest blocks
STEPS = (5, 11, 13, 17)


def fnv1a(text: str) -> int:
    state = 0xCBF29CE484222325
    for byte in text.encode():
        state = (state ^ byte) * 0x100000001B3 % 2**64
    return state


def compact(source: Path, target: Path) -> None:
    tensors, metadata = safetensors_io.load(source)
    kept = {}
    for name, tensor in tensors.items():
        if name == "logits" or WHOLE.fullmatch(source.stem):
            kept[name] = tensor
            continue
        # Few elements for the large batch, whose 64 x 64 sister is whole, and of the many wide maps of the MCi family.
        candidates = STEPS[1:] if tensor.shape[0] > 1 or "_mci" in source.stem else STEPS
        step = next(p for p in candidates if all(d % p for d in tensor.shape))
        kept[name] = tensor.reshape(-1)[::step]
        metadata[name + ".shape"] = str(list(tensor.shape))
        metadata[name + ".step"] = str(step)
        metadata[name + ".largest"] = repr(float(np.abs(tensor).max()))
    safetensors_io.save(target, kept, metadata)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("goldens", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "tests" / "data")
    args = parser.parse_args()

    (args.out / "goldens").mkdir(parents=True, exist_ok=True)
    for path in sorted((args.goldens / "outputs").glob("*.safetensors")):
        compact(path, args.out / "goldens" / path.name)

    (args.out / "keys").mkdir(parents=True, exist_ok=True)
    digests = []
    for path in sorted((args.goldens / "keys").glob("*.json")):
        match = KEYS.fullmatch(path.stem)
        if not match:
            continue
        lines = sorted(f"{name} {shape}\n" for name, shape in json.loads(path.read_text()).items())
        digests.append(f"{match[1]} {match[2]} {match[3]} {len(lines)} {fnv1a(''.join(lines)):016x}\n")
        if match[2] == LISTED:
            (args.out / "keys" / (path.stem + ".txt")).write_text("".join(lines))
    (args.out / "keys" / "digests.txt").write_text("".join(digests))


if __name__ == "__main__":
    main()
