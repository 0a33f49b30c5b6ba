"""Weights that anybody can make again: a formula of a tensor's name, shape and index.

`tools/trainer/tests/support/formula.rs` is the same in Rust. Names are Keras's layer names with PyTorch's variables
(weight, bias, running_mean, running_var), shapes PyTorch's.
"""

import numpy as np

MASK = (1 << 64) - 1


def fnv1a(text: str) -> int:
    """FNV-1a, 64 bits."""
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) & MASK
    return value


def uniform(name: str, count: int) -> np.ndarray:
    """`count` multiples of 2^-24 in [0, 1): the upper bits of SplitMix64, seeded with the name."""
    with np.errstate(over="ignore"):
        z = np.uint64(fnv1a(name)) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float64) / float(1 << 24)


def tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Kernels keep the size of activations with ReLU, normalisation does something in every channel."""
    u = uniform(name, int(np.prod(shape)))
    variable = name.rsplit(".", 1)[1]
    if len(shape) == 4:
        values = (2.0 * u - 1.0) * np.sqrt(6.0 / (shape[1] * shape[2] * shape[3]))
    elif variable == "running_var":
        values = 0.75 + 0.5 * u
    elif variable == "weight":
        values = 0.5 + 0.5 * u
    else:
        values = 0.4 * u - 0.2
    return values.astype(np.float32).reshape(shape)


def film(height: int, width: int) -> np.ndarray:
    """`[1, 3, height, width]` in [-1, 1)."""
    u = uniform(f"film.{height}x{width}", 3 * height * width)
    return (2.0 * u - 1.0).astype(np.float32).reshape(1, 3, height, width)
