"""Times Quark's own OSSCAR on one layer. `osscar_solver` runs it by a Python that has amd-quark."""

import json
import sys
import time

import torch
from quark.torch.algorithm.osscar.osscar import OSSCAR


def main() -> None:
    problem = torch.load(sys.argv[1], weights_only=True)
    weight, keep = problem["weight"].float(), problem["keep"]
    channels, outputs = weight.shape
    seconds = []
    for _ in range(3):
        layer = torch.nn.Linear(channels, outputs, bias=False)
        layer.weight.data = weight.T.contiguous()
        solver = OSSCAR(layer, 0)
        solver.XtX = problem["gram"].float()
        started = time.perf_counter()
        solver.prune(1 - keep / channels)
        seconds.append(time.perf_counter() - started)
    print(json.dumps({"seconds": min(seconds)}))


if __name__ == "__main__":
    main()
