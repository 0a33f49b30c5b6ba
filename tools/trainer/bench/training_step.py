"""Times training steps of the released network in PyTorch: one step for every line on standard input, its
milliseconds on standard output. The twin of examples/training_step.rs; training-step runs the two in turn.

Arguments: HEIGHT WIDTH BATCH FROZEN_BLOCKS THREADS.
"""
import sys
import time

import torch
from torch import nn
from torch.nn import functional

STAGES = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]


def conv_norm(inputs, outputs, kernel=1, stride=1, groups=1, activated=True):
    layers = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs)]
    return layers + [nn.ReLU6()] if activated else layers


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride, expansion):
        super().__init__()
        hidden = inputs * expansion
        layers = conv_norm(inputs, hidden) if expansion != 1 else []
        layers += conv_norm(hidden, hidden, 3, stride, hidden) + conv_norm(hidden, outputs, activated=False)
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.layers(x) if self.residual else self.layers(x)


def network(frozen):
    blocks, channels = [nn.Sequential(*conv_norm(1, 32, 3, 2))], 32
    for expansion, outputs, repeats, stride in STAGES:
        for repeat in range(repeats):
            blocks.append(Block(channels, outputs, stride if repeat == 0 else 1, expansion))
            channels = outputs
    blocks.append(nn.Sequential(*conv_norm(channels, 1280)))
    head = []
    for inputs, outputs in [(1280, 1000), (1000, 750)]:
        head += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(0.5)]
    trunk = nn.Sequential(*blocks)
    whole = nn.Sequential(trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), *head, nn.Linear(750, 3))
    whole.train()
    for block in blocks[:frozen]:
        block.eval()
        for parameter in block.parameters():
            parameter.requires_grad = False
    return whole


def main():
    height, width, batch, frozen, threads = map(int, sys.argv[1:6])
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    model = network(frozen)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-3, eps=1e-5, weight_decay=1e-5)
    labels = torch.arange(batch) % 3
    print("ready", flush=True)
    for _ in sys.stdin:
        films = torch.randn(batch, 1, height, width)
        start = time.perf_counter()
        optimiser.zero_grad(set_to_none=True)
        functional.cross_entropy(model(films), labels, label_smoothing=0.1).backward()
        optimiser.step()
        print(f"{(time.perf_counter() - start) * 1e3:.3f}", flush=True)


if __name__ == "__main__":
    main()
