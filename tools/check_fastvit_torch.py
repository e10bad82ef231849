#!/usr/bin/env python3
"""Compare fastvit_torch.py with golden outputs of the official implementations.

    check_fastvit_torch.py --goldens DIR [--pattern 'timm_*_64x64_*']

DIR/outputs holds files timm_VARIANT_nN_HxW_sSEED.safetensors with the outputs for seeded parameters; DIR/keys holds
timm_VARIANT_{train,reparam}.json with every tensor's name and shape. Checked for each: the train-time network, the folded
one, and the completely folded one, in float32, to 2e-5 of the reference's largest value; and that names and shapes agree.
"""
from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

import torch

import safetensors_io
from fastvit_torch import VARIANTS, FastViT, fold, seeded_state, seeded_tensor

TOLERANCE = 2e-5


def shapes(net: FastViT) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in net.state_dict().items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--goldens", type=Path, required=True)
    parser.add_argument("--pattern", default="timm_*")
    args = parser.parse_args()
    files = sorted((args.goldens / "outputs").glob(args.pattern + ".safetensors"))
    failures = 0 if files else 1
    for path in files:
        source, variant, n, h, w, seed = re.fullmatch(r"(timm)_(\w+)_n(\d+)_(\d+)x(\d+)_s(\d+)", path.stem).groups()
        expected, _ = safetensors_io.load(path)
        net = FastViT(VARIANTS["fastvit_" + variant]).eval()
        net.load_state_dict(seeded_state(net, int(seed)))
        forms = {"train": net, "reparam": fold(net), "complete": fold(net, complete=True)}
        for form in ("train", "reparam"):
            keys = json.loads((args.goldens / "keys" / f"{source}_{variant}_{form}.json").read_text())
            if keys != shapes(forms[form]):
                failures += 1
                print(f"{variant} {form}: names or shapes differ: {sorted(set(keys) ^ set(shapes(forms[form])))[:6]}")
        x = seeded_tensor("input", (int(n), 3, int(h), int(w)), int(seed))
        report = []
        for form, network in forms.items():
            with torch.no_grad():
                got = network.features(x)
            worst = 0.0
            for name, reference in expected.items():
                difference = (got[name] - torch.from_numpy(reference)).abs().max() / abs(reference).max()
                worst = max(worst, float(difference))
            failures += not worst <= TOLERANCE
            report.append(f"{form} {worst:.1e}")
        print(f"{path.stem}: {', '.join(report)} ({len(expected)} tensors)", flush=True)
    print(f"{len(files)} files, {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
