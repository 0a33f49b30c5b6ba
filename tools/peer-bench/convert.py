"""Turns the released network into the files that the peers read, and an input for all of them.

    convert.py MODEL OUT [--litert] [--ncnn]

MODEL is a model directory. OUT gets `network.onnx` (its weights widened from half precision to f32, nothing else
changed), `network.json` (shape, multiply-adds, outputs), `image.f32`, and where asked `network.tflite` (onnx2tf) and
`network.ncnn.*` (pnnx), each with the names of its outputs beside it.

The converters take the network as far as the logits. Grad-CAM's maps and the novelty features leave the graph at
other places and cost less than 1 % of the multiply-adds; peers that read ONNX run them too, as Lightbox does.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def widened(model):
    """Every `Cast` of a half-precision constant done beforehand, as all runtimes would when they load."""
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    kept, replaced = [], {}
    for node in graph.node:
        source = constants.get(node.input[0]) if node.op_type == "Cast" else None
        if source is not None and source.data_type == TensorProto.FLOAT16:
            wide = numpy_helper.to_array(source).astype(np.float32)
            replaced[source.name] = numpy_helper.from_array(wide, node.output[0])
        else:
            kept.append(node)
    tensors = [replaced.get(tensor.name, tensor) for tensor in graph.initializer]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(tensors)
    onnx.checker.check_model(model, full_check=True)
    return model


def multiply_adds(model):
    """Of the convolutions and matrix products."""
    inferred = onnx.shape_inference.infer_shapes(model)
    shapes = {tensor.name: list(tensor.dims) for tensor in inferred.graph.initializer}
    for value in [*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output]:
        shapes[value.name] = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    total = 0
    for node in inferred.graph.node:
        if node.op_type == "Conv":
            total += int(np.prod(shapes[node.output[0]]) * np.prod(shapes[node.input[1]][1:]))
        elif node.op_type in ("Gemm", "MatMul"):
            total += int(np.prod(shapes[node.output[0]]) * np.prod(shapes[node.input[0]]) // shapes[node.output[0]][-2])
    return total


def image(shape):
    """A smooth picture with noise, as large as real films are after preprocessing; the same every time."""
    height, width = shape[2:]
    y, x = np.mgrid[0:height, 0:width].astype(np.float64) / height
    noise = np.random.default_rng(7).normal(size=(height, width))
    values = 1.2 * np.sin(5 * x) * np.cos(4 * y) + 0.3 * noise
    return np.broadcast_to(values, shape).astype("<f4")


def logits_only(source, to):
    onnx.utils.extract_model(str(source), str(to), ["image"], ["logits"])


def litert(network, out):
    with tempfile.TemporaryDirectory() as scratch:
        part = pathlib.Path(scratch) / "network.onnx"
        logits_only(network, part)
        subprocess.run(
            [sys.executable, "-m", "onnx2tf", "-i", part, "-o", scratch, "-osd", "-n"],
            check=True, stdout=sys.stderr,
        )
        shutil.copy(pathlib.Path(scratch) / "network_float32.tflite", out / "network.tflite")
    from ai_edge_litert.interpreter import Interpreter

    outputs = Interpreter(str(out / "network.tflite")).get_output_details()
    (out / "network.tflite.json").write_text(json.dumps({outputs[0]["name"]: "logits"}))


def ncnn(network, out, pnnx):
    shape = json.loads((out / "network.json").read_text())["shape"]
    with tempfile.TemporaryDirectory() as scratch:
        logits_only(network, pathlib.Path(scratch) / "network.onnx")
        sizes = "inputshape=[" + ",".join(map(str, shape)) + "]"
        subprocess.run([pnnx, "network.onnx", sizes, "fp16=0"], check=True, cwd=scratch, stdout=sys.stderr)
        for part in ("param", "bin"):
            shutil.copy(pathlib.Path(scratch) / f"network.ncnn.{part}", out)
    (out / "network.ncnn.json").write_text(json.dumps({"out0": "logits"}))


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("model", type=pathlib.Path)
    arguments.add_argument("out", type=pathlib.Path)
    arguments.add_argument("--litert", action="store_true")
    arguments.add_argument("--ncnn", metavar="PNNX", help="the program pnnx")
    chosen = arguments.parse_args()
    out = chosen.out
    out.mkdir(parents=True, exist_ok=True)
    model = widened(onnx.load(chosen.model / "model.onnx"))
    onnx.save(model, out / "network.onnx")
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    about = {
        "shape": shape,
        "multiply_adds": multiply_adds(model),
        "outputs": [output.name for output in model.graph.output],
    }
    (out / "network.json").write_text(json.dumps(about, indent=1))
    image(shape).tofile(out / "image.f32")
    if chosen.litert:
        litert(out / "network.onnx", out)
    if chosen.ncnn:
        ncnn(out / "network.onnx", out, chosen.ncnn)


if __name__ == "__main__":
    main()
