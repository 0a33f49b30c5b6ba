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


def main():
    model, networks, path = map(pathlib.Path, sys.argv[1:])
    manifest = json.loads((model / "manifest.json").read_text())
    spec = manifest["input"]
    values = greys(path)
    height, width = values.shape
    border = spec["border"]
    box = (border * width, border * height, (1 - border) * width, (1 - border) * height)
    small = Image.fromarray(values).resize((spec["width"], spec["height"]), Image.Resampling.BILINEAR, box=box)
    image = (equalised(np.asarray(small)) - spec["mean"][0]) / spec["std"][0]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(networks / "network.onnx", options, providers=["CPUExecutionProvider"])
    logits = session.run(["logits"], {"image": image[None, None].astype(np.float32)})[0][0]
    scaled = np.exp((logits - logits.max()) / manifest["calibration"]["temperature"])
    probabilities = scaled / scaled.sum()
    print(json.dumps({"probabilities": dict(zip(manifest["labels"], probabilities.tolist()))}))


if __name__ == "__main__":
    main()
