#!/usr/bin/env python3
"""What Keras computes with the five networks of the paper, for the trainer's tests.

    python3 -m venv venv && venv/bin/pip install -r tools/trainer/parity/requirements.txt
    venv/bin/python tools/trainer/parity/keras_features.py tools/trainer/tests/fixtures

writes `paper-layers.txt` (the layers in the numbering of 2020, from Keras-Applications 1.0.8) and `paper-features.safetensors`
(the tensors that are live at the cut-off, as mean and standard deviation of each channel, and the pooled features).
Weights and films are those of `weights.py`.
"""

import os
import re
import sys
import types
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
from keras_applications import inception_resnet_v2, inception_v3, mobilenet_v2, vgg19, xception
from safetensors.numpy import save_file

import weights

NETWORKS = {
    "vgg19": (vgg19.VGG19, 18),
    "mobilenet-v2": (mobilenet_v2.MobileNetV2, 10),
    "inception-v3": (inception_v3.InceptionV3, 249),
    "xception": (xception.Xception, 120),
    "inception-resnet-v2": (inception_resnet_v2.InceptionResNetV2, 730),
}
# Even and odd, so that padding for stride 2 is uneven in one and even in the other.
SIZES = [(96, 80), (75, 91)]
VARIABLES = {
    "kernel": ("weight", (3, 2, 0, 1)),
    "pointwise_kernel": ("pointwise.weight", (3, 2, 0, 1)),
    "bias": ("bias", None),
    "gamma": ("weight", None),
    "beta": ("bias", None),
    "moving_mean": ("running_mean", None),
    "moving_variance": ("running_var", None),
}


def build(make, size):
    """The network as keras_applications puts it together, on the Keras of today."""
    keras.backend.clear_session()
    backend = types.SimpleNamespace(
        backend=lambda: "tensorflow",
        image_data_format=keras.backend.image_data_format,
        int_shape=lambda tensor: (None, *tensor.shape[1:]),
        is_keras_tensor=keras.backend.is_keras_tensor,
    )
    modules = dict(backend=backend, layers=keras.layers, models=keras.models, utils=keras.utils)
    return make(weights=None, include_top=False, input_shape=(*size, 3), **modules)


def name_of(layer):
    """Layers that Keras names by the kind were numbered from one in 2020, today the first has no number."""
    kinds = "conv2d|batch_normalization|activation|max_pooling2d|average_pooling2d|concatenate|add|input_layer"
    found = re.fullmatch(f"({kinds})(?:_(\\d+))?", layer.name)
    if not found:
        return layer.name
    return f"{found[1].replace('input_layer', 'input')}_{int(found[2] or 0) + 1}"


def fill(model):
    for layer in model.layers:
        for variable in layer.weights:
            kind = variable.path.rsplit("/", 1)[1]
            if kind == "depthwise_kernel":
                own, order = "depthwise.weight", (2, 3, 0, 1)
            elif isinstance(layer, keras.layers.DepthwiseConv2D):
                own, order = "weight", (2, 3, 0, 1)
            else:
                own, order = VARIABLES[kind]
            shape = tuple(variable.shape)
            if order is None:
                variable.assign(weights.tensor(f"{name_of(layer)}.{own}", shape))
                continue
            value = weights.tensor(f"{name_of(layer)}.{own}", tuple(shape[i] for i in order))
            variable.assign(value.transpose(np.argsort(order)))


def live_at(model, cut):
    """The outputs of the first `cut` layers that a later layer reads."""
    place = {id(layer): number for number, layer in enumerate(model.layers)}
    read = set()
    for layer in model.layers[cut:]:
        for node in layer._inbound_nodes:
            read |= {place[id(tensor._keras_history.operation)] for tensor in node.input_tensors}
    return sorted(number for number in read if number < cut)


def main(folder):
    lines, tensors = [], {}
    for key, (make, cut) in NETWORKS.items():
        for size in SIZES:
            model = build(make, size)
            fill(model)
            live = live_at(model, cut)
            if size == SIZES[0]:
                counted = sum(int(np.prod(w.shape)) for layer in model.layers[:cut] for w in layer.weights)
                trained = sum(int(np.prod(w.shape)) for layer in model.layers[cut:] for w in layer.trainable_weights)
                lines.append(f"# {key}: {len(model.layers)} layers, {model.count_params()} parameters, cut-off {cut},")
                lines.append(f"# {counted} before it, {trained} trainable behind it, live {live}")
                lines += [f"{number}\t{name_of(layer)}" for number, layer in enumerate(model.layers)]
            outputs = [model.layers[number].output for number in live] + [model.output]
            film = weights.film(*size).transpose(0, 2, 3, 1)
            values = keras.Model(model.input, outputs)(film, training=False)
            values = [np.asarray(value)[0].astype(np.float64) for value in values]
            at = f"{key}.{size[0]}x{size[1]}"
            for number, value in zip(live, values):
                summary = np.stack([value.mean((0, 1)), value.std((0, 1))])
                tensors[f"{at}.live.{number}"] = summary.astype(np.float32)
            features = values[-1].mean((0, 1))
            tensors[f"{at}.features"] = features.astype(np.float32)
            print(f"{at}: {len(model.layers)} layers, live {live}, features {features.min():.3f} to {features.max():.3f}")
    folder.joinpath("paper-layers.txt").write_text("\n".join(lines) + "\n")
    save_file(tensors, folder / "paper-features.safetensors", {"made by": "tools/trainer/parity/keras_features.py"})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
