#!/usr/bin/env python3
"""What torchvision and timm compute with the five networks of the paper, for the trainer's tests.

    python3 -m venv venv && venv/bin/pip install -r tools/trainer/parity/requirements-torch.txt
    venv/bin/python tools/trainer/parity/torch_features.py tools/trainer/tests/fixtures

writes `paper-features-torch.safetensors`, the pooled features, and `two-tensors.pt`, a PyTorch file of two tensors. Weights
and films are those of `weights.py`, by the names of torchvision and timm.
"""

import sys
from pathlib import Path

import numpy as np
import timm
import torch
import torchvision
from safetensors.numpy import save_file

import weights

# Networks as maps of features; torchvision's and timm's own modules, without their classifiers.
SIZES = [(96, 80), (75, 91)]


def inception(model, x):
    """The trunk of torchvision's Inception v3, in the order of its `_forward`."""
    for name, module in model.named_children():
        if name == "avgpool":
            return x
        if name != "AuxLogits":
            x = module(x)
    raise AssertionError("no avgpool")


NETWORKS = {
    "vgg19": (lambda: torchvision.models.vgg19(), lambda model, x: model.features(x)),
    "mobilenet-v2": (lambda: torchvision.models.mobilenet_v2(), lambda model, x: model.features(x)),
    "inception-v3": (lambda: torchvision.models.inception_v3(init_weights=False), inception),
    "xception": (lambda: timm.create_model("legacy_xception"), lambda model, x: model.forward_features(x)),
    "inception-resnet-v2": (lambda: timm.create_model("inception_resnet_v2"), lambda model, x: model.forward_features(x)),
}


def main(folder):
    tensors = {}
    for key, (make, run) in NETWORKS.items():
        model = make().eval()
        state = model.state_dict()
        for name, value in state.items():
            if not name.endswith("num_batches_tracked"):
                state[name] = torch.from_numpy(weights.tensor(name, tuple(value.shape)))
        model.load_state_dict(state)
        for size in SIZES:
            with torch.no_grad():
                features = run(model, torch.from_numpy(weights.film(*size))).double().mean((2, 3))[0].numpy()
            tensors[f"{key}.{size[0]}x{size[1]}.features"] = features.astype(np.float32)
            print(f"{key} {size}: {len(features)} features, {features.min():.3f} to {features.max():.3f}")
    save_file(tensors, folder / "paper-features-torch.safetensors", {"made by": "tools/trainer/parity/torch_features.py"})
    stem = torch.from_numpy(weights.tensor("features.0.0.weight", (32, 3, 3, 3)))
    torch.save({"features.0.0.weight": stem, "features.0.1.bias": torch.zeros(7)}, folder / "two-tensors.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
