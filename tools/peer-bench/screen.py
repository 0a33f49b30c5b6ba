"""Reads one DICOM film the way a Python program would: pydicom, numpy and Pillow, ONNX Runtime.

    screen.py MODEL NETWORKS FILE

Does what `lightbox screen` does for an ordinary 16-bit film, with the same steps, and prints the probabilities.
"""

import json
import pathlib
import sys

import numpy as np
import onnxruntime
import pydicom
from PIL import Image
from pydicom.pixels import apply_modality_lut, apply_voi_lut


def greys(path):
    """The film as it is meant to be seen, 0 black to 65535 white."""
    data = pydicom.dcmread(path)
    values = apply_voi_lut(apply_modality_lut(data.pixel_array, data), data).astype(np.float32)
    low, high = values.min(), values.max()
    values = (values - low) * (65535.0 / max(high - low, 1.0))
    return 65535.0 - values if data.PhotometricInterpretation == "MONOCHROME1" else values


def equalised(values):
    """Each grey's rank among the picture's, 0 to 1, ties in the middle."""
    _, index, counts = np.unique(np.rint(values), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - counts / 2) / values.size
    return ranks[index].reshape(values.shape)


def seen(values, window, spec):
    """What the network is shown of the part `window` (left, top, right, bottom, as fractions of the film)."""
    height, width = values.shape
    box = tuple(np.multiply(window, (width, height, width, height)))
    small = Image.fromarray(values).resize((spec["width"], spec["height"]), Image.Resampling.BILINEAR, box=box)
    image = (equalised(np.asarray(small)) - spec["mean"][0]) / spec["std"][0]
    return image[None, None].astype(np.float32)


def around_lungs(features, window, lungs):
    """The part of the film around both lungs, found by a linear function of the features of the part `window`."""
    edges = (np.array(lungs["weights"]) @ features + np.array(lungs["offsets"])).reshape(2, 4)
    sides = (edges[:, 2] - edges[:, 0], edges[:, 3] - edges[:, 1])
    for found, (least, most) in zip(sides, (lungs["width"], lungs["height"])):
        if not np.all((found > 0) & (found >= least) & (found <= most)):
            return window
    near, far = np.array(window[:2]), np.array(window[2:])
    box = np.concatenate([edges[:, :2].min(axis=0), edges[:, 2:].max(axis=0)])
    on_film = np.tile(near, 2) + box * np.tile(far - near, 2)
    margin = lungs["margin"]
    return tuple(np.clip(on_film + np.array([-margin, -margin, margin, margin]), 0.0, 1.0))


def main():
    model, networks, path = map(pathlib.Path, sys.argv[1:])
    manifest = json.loads((model / "manifest.json").read_text())
    spec, lungs = manifest["input"], manifest.get("lungs")
    values = greys(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(networks / "network.onnx", options, providers=["CPUExecutionProvider"])
    border = spec["border"]
    window = (border, border, 1 - border, 1 - border)
    image = seen(values, window, spec)
    if lungs and lungs.get("margin") is not None:
        # The first look is at the film, the second at its lungs.
        features = session.run(["features"], {"image": image})[0].ravel()
        image = seen(values, around_lungs(features, window, lungs), spec)
    logits = session.run(["logits"], {"image": image})[0][0]
    scaled = np.exp((logits - logits.max()) / manifest["calibration"]["temperature"])
    probabilities = scaled / scaled.sum()
    print(json.dumps({"probabilities": dict(zip(manifest["labels"], probabilities.tolist()))}))


if __name__ == "__main__":
    main()
