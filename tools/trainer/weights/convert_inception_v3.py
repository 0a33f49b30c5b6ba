#!/usr/bin/env python3
"""Inception v3 from the npm package nsfwjs 4.3.0 (MIT), as safetensors for `trainer`.

    npm pack nsfwjs@4.3.0 && tar xzf nsfwjs-4.3.0.tgz
    python3 -m venv venv && venv/bin/pip install -r tools/trainer/weights/requirements.txt
    venv/bin/python tools/trainer/weights/convert_inception_v3.py package/dist/models/inception_v3 inception_v3.safetensors

These weights are a stand-in where Keras's own cannot be had. They began as Keras's ImageNet weights and were then
fine-tuned on another task (telling indecent pictures), the layers before conv2d_56 frozen at the end, and were
stored as 8-bit numbers. The input of the package is 0 to 1; here the stem takes over the change of scale, exactly since
it has no padding, so that the file expects Keras's -1 to 1. The classifier is left out.
"""

import base64
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

# Of the shards' joined bytes in nsfwjs 4.3.0.
SHA256 = "8a457f3fdec7db18b16e44323454db0eaeb8f314eda0046b2e293e58a5bfabf4"
VARIABLES = {"beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


def read(folder: Path) -> tuple[dict, bytes]:
    """The description of the network and its weights, out of the CommonJS modules that hold them; npm comes with node."""

    def module(name: str) -> str:
        path = json.dumps(str((folder / f"{name}.min.js").resolve()))
        script = f"process.stdout.write(JSON.stringify(require({path})))"
        done = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{folder}/{name}.min.js: expected a module of nsfwjs 4.3.0: {done.stderr.strip()[-300:]}")
        return json.loads(done.stdout)

    model = module("model")
    shards = [path for group in model["weightsManifest"] for path in group["paths"]]
    return model, b"".join(base64.b64decode(module(shard)) for shard in shards)


def tensors(model: dict, data: bytes) -> dict[str, np.ndarray]:
    """Dequantised: value = number * scale + min."""
    found, place = {}, 0
    for entry in (entry for group in model["weightsManifest"] for entry in group["weights"]):
        stored, count = entry["quantization"], int(np.prod(entry["shape"]))
        kind = np.dtype(stored["dtype"])
        numbers = np.frombuffer(data, kind, count, place).astype(np.float64)
        place += count * kind.itemsize
        found[entry["name"]] = (numbers * stored["scale"] + stored["min"]).reshape(entry["shape"])
    if place != len(data):
        sys.exit(f"{len(data)} bytes of weights, the description has {place}")
    return found


def named(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Keras's layers with PyTorch's variables and layout."""
    out = {}
    for name, value in found.items():
        layer, variable = name.split("/")
        if layer.startswith("conv2d_"):
            out[f"{layer}.weight"] = value.transpose(3, 2, 0, 1)
        elif layer.startswith("batch_normalization_"):
            out[f"{layer}.{VARIABLES[variable]}"] = value
    # conv(x) with x = (y + 1) / 2 is conv(y) / 2 + sum / 2; the normalisation behind it takes off the constant.
    stem = out["conv2d_1.weight"]
    out["conv2d_1.weight"] = stem / 2
    out["batch_normalization_1.running_mean"] = out["batch_normalization_1.running_mean"] - stem.sum((1, 2, 3)) / 2
    return {name: np.ascontiguousarray(value, np.float32) for name, value in out.items()}


def main(folder: Path, out: Path) -> None:
    model, data = read(folder)
    digest = hashlib.sha256(data).hexdigest()
    if digest != SHA256:
        sys.exit(f"{folder}: the weights have SHA-256 {digest}, those of nsfwjs 4.3.0 have {SHA256}")
    weights = named(tensors(model, data))
    metadata = {
        "network": "Inception v3 without classifier",
        "names": "Keras layers, PyTorch variables and layout",
        "preprocess": "RGB, x/127.5-1",
        "source": "npm nsfwjs 4.3.0, dist/models/inception_v3",
        "licence": "MIT",
        "note": "Keras's ImageNet weights, fine-tuned on another task (indecent pictures), from 8-bit numbers",
    }
    save_file(weights, out, metadata)
    print(f"{out}: {len(weights)} tensors, {sum(w.size for w in weights.values())} numbers")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
