"""Runs the released network in Lightbox, stock tract and the peers, turn and turn about, and writes down who is how fast.

    compare.py --worker PROGRAM --program PROGRAM --model DIR --networks DIR --film FILE --out DIR [--rounds N]

Each engine is a process of its own, pinned to the same core (to the same two cores with two threads), loaded before
the first round. In a round each is told in turn to run the network a few times, so that whatever else the machine does
falls on all alike; the ratio of two engines is the median over the rounds of the ratio within a round. Where the
system allows it (root), the engines have real-time priority, so that other programs hardly show. Writes `peers.json`,
`peers.md` and `peers.svg`.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
OURS, OURS_LOGITS = "Lightbox", "Lightbox, logits only"
NAMES = {"litert": "LiteRT (XNNPACK)", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "ncnn": "ncnn"}
PACKAGES = {"litert": "ai-edge-litert", "onnxruntime": "onnxruntime", "openvino": "openvino", "ncnn": "ncnn"}
WARM, RUNS = 2, 8


def pinned(cores):
    """How a command is started on these cores, ahead of other programs where that is allowed."""
    allowed = shutil.which("chrt") and subprocess.run(["chrt", "-r", "10", "true"], stderr=subprocess.DEVNULL).returncode == 0
    return (["chrt", "-r", "10"] if allowed else []) + ["taskset", "-c", cores]


class Engine:
    """A worker process that obeys."""

    def __init__(self, name, command, cores):
        self.name = name
        self.times, self.rounds = [], []
        self.process = subprocess.Popen(
            [*pinned(cores), *map(str, command)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        self.loaded = self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"compare.py: {self.name} ended with status {self.process.wait()} before it answered")
        return json.loads(line)

    def ask(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.answer()

    def round(self):
        self.ask(f"run {WARM}")
        times = [ns / 1e6 for ns in self.ask(f"run {RUNS}")["ns"]]
        self.times += times
        self.rounds.append(statistics.median(times))

    def end(self):
        answer = self.ask("quit")
        self.process.wait()
        return answer


def commands(chosen, threads):
    """Name and command line of every engine."""
    common = ["--model", chosen.model, "--input", chosen.networks / "image.f32", "--threads", threads]
    found = {
        OURS: [chosen.worker, *common],
        # As the peers of which the converters took nothing else.
        OURS_LOGITS: [chosen.worker, *common, "--logits"],
        "tract (stock)": [chosen.worker, *common, "--stock"],
    }
    if threads > 1:
        # tract's own operators do not share the work.
        del found["tract (stock)"]
    for key in chosen.peers:
        found[NAMES[key]] = [sys.executable, HERE / "worker.py", key, chosen.networks, chosen.networks / "image.f32", threads]
    return found


def difference(outputs, expected):
    """Largest difference of any number that both engines give, relative to the largest of that output."""
    worst = 0.0
    for name in outputs:
        largest = max(1.0, *(abs(value) for value in expected[name]))
        assert len(outputs[name]) == len(expected[name]), f"{name} has {len(outputs[name])} values"
        apart = max(abs(a - b) for a, b in zip(outputs[name], expected[name]))
        worst = max(worst, apart / largest)
    return worst


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def with_threads(chosen, threads, multiply_adds):
    cores = ",".join(map(str, chosen.cores[-threads:]))
    engines = [Engine(name, command, cores) for name, command in commands(chosen, threads).items()]
    ours = engines[0]
    expected = ours.ask("outputs")
    apart = {engine.name: difference(engine.ask("outputs"), expected) for engine in engines}
    for name, value in apart.items():
        if value > 1e-4:
            sys.exit(f"compare.py: {name} gives another answer: {value:.1e} apart, expected at most 1e-4")
    loads = {engine.name: [engine.loaded["load_ms"]] for engine in engines}
    peaks = []
    for index in range(chosen.rounds):
        peaks.append(ours.ask("peak")["flops"])
        for engine in engines:
            engine.round()
            # Threads of the last engine may still look for work.
            time.sleep(0.01)
        print(f"\r{threads} thread{'s' * (threads > 1)}: round {index + 1} of {chosen.rounds}", end="", file=sys.stderr)
    print(file=sys.stderr)
    ends = {engine.name: engine.end() for engine in engines}
    for _ in range(chosen.loads - 1):
        for name, command in commands(chosen, threads).items():
            again = Engine(name, command, cores)
            loads[name].append(again.loaded["load_ms"])
            again.end()
    # Least times and the largest peak: what a core without neighbours would give.
    peak = max(peaks) * threads
    return [
        {
            "engine": engine.name,
            "threads": threads,
            "median_ms": statistics.median(engine.times),
            "p95_ms": percentile(engine.times, 0.95),
            "least_ms": min(engine.times),
            "ratio": statistics.median(a / b for a, b in zip(engine.rounds, ours.rounds)),
            "load_ms": statistics.median(loads[engine.name]),
            "peak_memory_mb": ends[engine.name]["peak_kb"] / 1024,
            "network_memory_mb": (ends[engine.name]["peak_kb"] - engine.loaded["rss_before_kb"]) / 1024,
            "share_of_peak": 2 * multiply_adds / (min(engine.times) / 1e3) / peak,
            "difference": apart[engine.name],
        }
        for engine in engines
    ], peak / threads


def film(chosen):
    """One DICOM file to a verdict, from the start of the process to its end."""
    before = pinned(str(chosen.cores[-1]))
    ways = {
        OURS: [chosen.program, "screen", "--json", "--model", chosen.model, chosen.film],
        "Python": [sys.executable, HERE / "screen.py", chosen.model, chosen.networks, chosen.film],
    }
    times, answers, memory = {name: [] for name in ways}, {}, {}
    for index in range(chosen.films + 1):
        for name, command in ways.items():
            start = time.perf_counter()
            done = subprocess.Popen([*before, *map(str, command)], stdout=subprocess.PIPE)
            answers[name] = json.loads(done.stdout.read())
            _, status, usage = os.wait4(done.pid, 0)
            if status:
                sys.exit(f"compare.py: {name} ended with status {status}")
            if index:
                times[name].append((time.perf_counter() - start) * 1e3)
            memory[name] = usage.ru_maxrss / 1024
    ours, theirs = (answers[name]["probabilities"] for name in ways)
    apart = max(abs(ours[finding] - theirs[finding]) for finding in ours)
    if apart > 0.01:
        sys.exit(f"compare.py: Python reads the film otherwise: {theirs}, Lightbox {ours}")
    return [
        {
            "way": name,
            "median_ms": statistics.median(times[name]),
            "least_ms": min(times[name]),
            "ratio": statistics.median(a / b for a, b in zip(times[name], times[OURS])),
            "peak_memory_mb": memory[name],
        }
        for name in ways
    ]


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def table(found):
    lines = [
        f"{found['processor']}, {found['kernels']}, {found['peak_gflops']:.0f} GFLOP/s a core measured; "
        f"{found['multiply_adds'] / 1e6:.0f} M multiply-adds; {found['date']}",
        "",
        "| engine | threads | median ms | p95 ms | least ms | ÷ Lightbox | share of peak | load ms | peak memory MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(found["network"], key=lambda row: (row["threads"], row["ratio"])):
        version = found["versions"].get(row["engine"], "")
        lines.append(
            f"| {row['engine']} {version} | {row['threads']} | {row['median_ms']:.2f} | {row['p95_ms']:.2f} | "
            f"{row['least_ms']:.2f} | {row['ratio']:.2f} | {row['share_of_peak']:.0%} | {row['load_ms']:.0f} | "
            f"{row['peak_memory_mb']:.0f} |"
        )
    lines += ["", "| one 2048 × 2048 DICOM file, process to process | median ms | least ms | ÷ Lightbox | peak memory MB |", "|---|---|---|---|---|"]
    for row in found["film"]:
        lines.append(
            f"| {row['way']} | {row['median_ms']:.0f} | {row['least_ms']:.0f} | {row['ratio']:.1f} | {row['peak_memory_mb']:.0f} |"
        )
    return "\n".join(lines) + "\n"


def picture(found):
    """Bars of the least times, as SVG without fonts or scripts of its own."""
    rows = sorted(found["network"], key=lambda row: (row["threads"], row["ratio"]))
    longest = max(row["median_ms"] for row in rows)
    left, width, height = 190, 420, 22
    parts, y = [], 34
    for threads in sorted({row["threads"] for row in rows}):
        parts.append(f'<text x="8" y="{y}" font-weight="bold">{threads} thread{"s" * (threads > 1)}</text>')
        y += 10
        for row in (row for row in rows if row["threads"] == threads):
            long = width * row["median_ms"] / longest
            colour = "#1f7a5c" if row["engine"] in (OURS, OURS_LOGITS) else "#9aa5ad"
            parts.append(f'<text x="{left - 8}" y="{y + 15}" text-anchor="end">{row["engine"]}</text>')
            parts.append(f'<rect x="{left}" y="{y + 2}" width="{long:.1f}" height="{height - 5}" fill="{colour}"/>')
            parts.append(f'<text x="{left + long + 6:.1f}" y="{y + 15}">{row["median_ms"]:.1f} ms</text>')
            y += height
        y += 26
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="700" height="{y - 14}" viewBox="0 0 700 {y - 14}" '
        'font-family="sans-serif" font-size="13" fill="#24292f"><rect width="100%" height="100%" fill="#ffffff"/>'
    )
    title = f'<text x="8" y="16">One film through the released network, median, f32; {found["processor"]}</text>'
    return "\n".join([head, title, *parts, "</svg>"]) + "\n"


def main():
    arguments = argparse.ArgumentParser()
    for name in ("worker", "program", "model", "networks", "film", "out"):
        arguments.add_argument(f"--{name}", type=pathlib.Path, required=True)
    arguments.add_argument("--rounds", type=int, default=30)
    arguments.add_argument("--loads", type=int, default=5)
    arguments.add_argument("--films", type=int, default=9)
    arguments.add_argument("--peers", nargs="*", default=list(NAMES), choices=list(NAMES))
    arguments.add_argument("--cores", type=int, nargs="+", default=sorted(os.sched_getaffinity(0))[-2:])
    chosen = arguments.parse_args()
    about = json.loads((chosen.networks / "network.json").read_text())
    found = {
        "date": datetime.date.today().isoformat(),
        "processor": processor(),
        "multiply_adds": about["multiply_adds"],
        "versions": {NAMES[key]: importlib.metadata.version(PACKAGES[key]) for key in chosen.peers},
        "network": [],
    }
    probe = Engine(OURS, commands(chosen, 1)[OURS], str(chosen.cores[-1]))
    found["kernels"] = probe.ask("peak")["kernels"]
    probe.end()
    for threads in range(1, len(chosen.cores) + 1):
        rows, found["peak_gflops"] = with_threads(chosen, threads, about["multiply_adds"])
        found["peak_gflops"] /= 1e9
        found["network"] += rows
    chosen.out.mkdir(parents=True, exist_ok=True)
    # What was measured stays, whatever becomes of the film.
    (chosen.out / "peers.json").write_text(json.dumps(found, indent=1) + "\n")
    found["film"] = film(chosen)
    (chosen.out / "peers.json").write_text(json.dumps(found, indent=1) + "\n")
    (chosen.out / "peers.md").write_text(table(found))
    (chosen.out / "peers.svg").write_text(picture(found))
    print(table(found))
    for threads in sorted({row["threads"] for row in found["network"]}):
        peers = [row for row in found["network"] if row["threads"] == threads and row["engine"] in NAMES.values()]
        best = min(peers, key=lambda row: row["ratio"])
        logits = next(row for row in found["network"] if (row["threads"], row["engine"]) == (threads, OURS_LOGITS))
        print(
            f"{threads} thread(s): our time ÷ the best peer's ({best['engine']}): {1 / best['ratio']:.2f}, "
            f"for the logits alone {logits['ratio'] / best['ratio']:.2f}"
        )


if __name__ == "__main__":
    main()
