"""Runs the network in one peer when told to, and says how long it took; the counterpart of examples/engine_worker.rs.

    worker.py ENGINE NETWORKS INPUT THREADS [RUNS]

With RUNS the network is run that often and the program ends. Else commands come in, a line each, and answers go out,
one JSON object a line: `run N` (the time of each run in nanoseconds), `outputs`, `quit`. The time of a run is that of
the peer's own call: input and output arrays are made outside it where the peer lets them.
"""

import json
import pathlib
import sys
import time

import numpy as np


def memory_kb(name):
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    return None


class OnnxRuntime:
    def __init__(self):
        import onnxruntime

        self.module = onnxruntime

    def load(self, folder, threads):
        options = self.module.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.session = self.module.InferenceSession(folder / "network.onnx", options, providers=["CPUExecutionProvider"])
        self.names = [output.name for output in self.session.get_outputs()]

    def run(self, image):
        return dict(zip(self.names, self.session.run(None, {"image": image})))


class OpenVino:
    def __init__(self):
        import openvino

        self.module = openvino

    def load(self, folder, threads):
        core = self.module.Core()
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
        }
        compiled = core.compile_model(folder / "network.onnx", "CPU", settings)
        self.request = compiled.create_infer_request()
        self.names = [output.get_any_name() for output in compiled.outputs]

    def run(self, image):
        self.request.infer({"image": image}, share_inputs=True, share_outputs=True)
        return {name: self.request.get_output_tensor(i).data for i, name in enumerate(self.names)}


class LiteRt:
    """LiteRT, and under its former name (aarch64, old processors) TensorFlow Lite."""

    def __init__(self):
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError:
            from tflite_runtime.interpreter import Interpreter
        self.interpreter_type = Interpreter

    def load(self, folder, threads):
        self.interpreter = self.interpreter_type(str(folder / "network.tflite"), num_threads=threads)
        self.interpreter.allocate_tensors()
        self.input = self.interpreter.get_input_details()[0]
        names = json.loads((folder / "network.tflite.json").read_text())
        self.outputs = {names[output["name"]]: output for output in self.interpreter.get_output_details()}

    def run(self, image):
        # One channel: planes and channels-last pixels are the same numbers.
        self.interpreter.set_tensor(self.input["index"], image.reshape(self.input["shape"]))
        self.interpreter.invoke()
        return {name: self.interpreter.get_tensor(output["index"]) for name, output in self.outputs.items()}


class Ncnn:
    def __init__(self):
        import ncnn

        self.module = ncnn

    def load(self, folder, threads):
        self.net = self.module.Net()
        self.net.opt.num_threads = threads
        # f32 throughout, as everywhere else.
        self.net.opt.use_fp16_packed = self.net.opt.use_fp16_storage = self.net.opt.use_fp16_arithmetic = False
        self.net.opt.use_bf16_storage = False
        self.net.load_param(str(folder / "network.ncnn.param"))
        self.net.load_model(str(folder / "network.ncnn.bin"))
        self.outputs = json.loads((folder / "network.ncnn.json").read_text())
        # Weights are packed when they are first used.
        self.mat = None

    def run(self, image):
        if self.mat is None:
            self.mat = self.module.Mat(image[0]).clone()
        extractor = self.net.create_extractor()
        extractor.input("in0", self.mat)
        return {name: np.array(extractor.extract(blob)[1]) for blob, name in self.outputs.items()}


ENGINES = {"onnxruntime": OnnxRuntime, "openvino": OpenVino, "litert": LiteRt, "ncnn": Ncnn}


def main():
    name, folder, image, threads = sys.argv[1:5]
    folder = pathlib.Path(folder)
    shape = json.loads((folder / "network.json").read_text())["shape"]
    image = np.fromfile(image, dtype="<f4").reshape(shape)
    engine = ENGINES[name]()
    before = memory_kb("VmRSS")
    start = time.perf_counter_ns()
    engine.load(folder, int(threads))
    load_ms = (time.perf_counter_ns() - start) / 1e6
    if len(sys.argv) > 5:
        for _ in range(int(sys.argv[5])):
            engine.run(image)
        return
    print(json.dumps({"load_ms": load_ms, "rss_before_kb": before}), flush=True)
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command == "run":
            times = []
            for _ in range(int(argument)):
                start = time.perf_counter_ns()
                engine.run(image)
                times.append(time.perf_counter_ns() - start)
            print(json.dumps({"ns": times}), flush=True)
        elif command == "outputs":
            outputs = engine.run(image)
            print(json.dumps({key: np.asarray(value, dtype=float).ravel().tolist() for key, value in outputs.items()}), flush=True)
        elif command == "quit":
            print(json.dumps({"peak_kb": memory_kb("VmHWM")}), flush=True)
            return
        else:
            sys.exit(f"unknown command {line!r}")


if __name__ == "__main__":
    main()
