"""One case in PyTorch: `program.py CASE` prints its times and the memory of this process as one JSON line.

The cases are named as in `mpuc bench`; one that PyTorch has nothing for prints `null`. With `--device cuda` a time
includes the wait for the GPU, and the memory is the peak of PyTorch's allocator there after the first run.
"""

import argparse
import contextlib
import json
import resource
import statistics
import sys
import time
from pathlib import Path

import torch

# The definitions of the networks and the loss.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "fixtures"))
import networks  # noqa: E402
import operations  # noqa: E402

# As in mpuc's bench: seconds that the first run takes at most, runs before the clock starts, runs at least.
OFTEN = [(1, 2, 5), (10, 2, 3), (float("inf"), 1, 2)]


def peak_bytes():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure(run, budget, repeats):
    """Seconds of each run, as often as `mpuc bench` would."""
    start = time.perf_counter()
    run()
    took = time.perf_counter() - start
    warm_up, least = next(often[1:] for often in OFTEN if took <= often[0])
    for _ in range(1, warm_up):
        run()
    least, most = (repeats, repeats) if repeats else (least, 200)
    times = []
    begin = time.perf_counter()
    while len(times) < least or (len(times) < most and time.perf_counter() - begin < budget):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return times


def waiting(run):
    """The same run, and then a wait until the GPU has finished it."""

    def whole():
        run()
        torch.cuda.synchronize()

    return whole


def prepare_gpu(tf32):
    """Chooses the number format of products: f32, as in mpuc, or TF32. cuDNN tries its algorithms in the first run."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = True


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--tf32", action="store_true", help="with --device cuda: products in TF32 instead of f32")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    base = peak_bytes()
    on_gpu = arguments.device == "cuda"
    if on_gpu:
        prepare_gpu(arguments.tf32)
    with torch.device("cuda") if on_gpu else contextlib.nullcontext():
        found = networks.case(arguments.case) or operations.case(arguments.case)
    if found is None:
        print("null")
        return
    run, budget = found
    if on_gpu:
        run = waiting(run)
        # The memory of cuDNN's trials is not counted.
        run()
        torch.cuda.reset_peak_memory_stats()
    times = measure(run, budget, arguments.repeats)
    memory = {"peak_bytes": peak_bytes(), "base_bytes": base}
    if on_gpu:
        memory = {"peak_bytes": torch.cuda.max_memory_allocated(), "device": torch.cuda.get_device_name()}
    json.dump({"median_s": statistics.median(times), "min_s": min(times), "reps": len(times), **memory,
               "torch": torch.__version__}, sys.stdout)
    print()


main()
