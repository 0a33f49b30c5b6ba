#!/usr/bin/env python3
"""Keras's own weights of the paper's networks, as safetensors for `trainer`.

    python3 -m venv venv && venv/bin/pip install -r tools/trainer/parity/requirements.txt
    venv/bin/python tools/trainer/weights/keras_to_safetensors.py inception-resnet-v2 out.safetensors            # downloads them
    venv/bin/python tools/trainer/weights/keras_to_safetensors.py inception-resnet-v2 out.safetensors FILE.h5    # has them

Keras reads its HDF5 files itself, so whatever it takes (with or without the classifier as it is named) can be converted.
"""

import os
import sys

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from safetensors.numpy import save_file

NETWORKS = {
    "vgg19": (keras.applications.VGG19, "BGR, x less 103.939, 116.779, 123.68"),
    "mobilenet-v2": (keras.applications.MobileNetV2, "RGB, x/127.5-1"),
    "inception-v3": (keras.applications.InceptionV3, "RGB, x/127.5-1"),
    "xception": (keras.applications.Xception, "RGB, x/127.5-1"),
    "inception-resnet-v2": (keras.applications.InceptionResNetV2, "RGB, x/127.5-1"),
}


def main(network: str, out: str, weights: str) -> None:
    make, preprocess = NETWORKS[network]
    model = make(weights=weights, include_top=False)
    tensors = {}
    for layer in model.layers:
        for variable in layer.weights:
            kind = variable.path.rsplit("/", 1)[1]
            tensors[f"{layer.name}/{kind}"] = np.ascontiguousarray(variable.numpy(), np.float32)
    save_file(tensors, out, {"names": "Keras", "preprocess": preprocess, "network": network})
    print(f"{out}: {len(tensors)} tensors, {sum(t.size for t in tensors.values())} numbers")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4) or sys.argv[1] not in NETWORKS:
        sys.exit(f"{__doc__}\nNetworks: {', '.join(NETWORKS)}")
    main(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) == 4 else "imagenet")
