"""`cases.py mpuc|pytorch DEVICE FOLDER` times the networks on a device, each in a process of its own; prints a table.

FOLDER/bench.json keeps the results; a case that was measured is not measured again. PyTorch computes in f32 as mpuc
does, and a second time with products in TF32. With DEVICE sim, one small case shows that the commands work, and
PyTorch runs it on the CPU. Exit code 77 if PyTorch cannot run here, 4 if a case failed.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

# As in tests/pytorch/compare.
CASES = ["voice/step/b32", "text/step/b32", "landmarks/step/b32", "landmarks-yan/step/b32", "face/fwd/b8",
         "face/fwd+bwd/b8", "face/step/b8", "mpuc/step/b8", "mpuc/step/b32"]
SMALL = ["voice/fwd/b2"]
# Seconds that a case may take.
LIMIT = 150
PROGRAM = Path(__file__).resolve().parent.parent.parent / "tests" / "pytorch" / "program.py"


def main():
    who, device, folder = sys.argv[1:]
    simulated = device == "sim"
    cases, repeats = (SMALL, ["--repeats", "1"]) if simulated else (CASES, [])
    torch = [sys.executable, str(PROGRAM)]
    if who == "pytorch":
        check_torch(simulated)
        sides = {"PyTorch on the CPU": []} if simulated else {"PyTorch f32": ["--device", "cuda"],
                                                              "PyTorch TF32": ["--device", "cuda", "--tf32"]}
    else:
        sides = {"mpuc": []}
    path = Path(folder) / "bench.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    failed, lacking = [], {}
    for case in cases:
        for side, more in sides.items():
            found = results.setdefault(side, {})
            if case in found:
                continue
            command = ours(case, device) if who == "mpuc" else [*torch, case, *more]
            result, reason = run([*command, *repeats])
            if result is None:
                print(f"{side} cannot run {case}: {reason}", flush=True)
                # A package that this Python lacks (torchvision) is no failure of what is measured; the table names it.
                package = re.fullmatch(r"ModuleNotFoundError: No module named '(.+)'", reason)
                if package:
                    lacking[side, case] = f"no {package[1]}"
                else:
                    failed.append(f"{side} {case}")
                continue
            found[case] = result
            path.write_text(json.dumps(results, indent=1) + "\n")
            print(f"{side} {case}: {ms(result)} ms", flush=True)
    shown = {side: results.get(side, {}) for side in ["mpuc", *sides]}
    print(table(cases, shown, lacking))
    print(f"failed: {', '.join(failed) or 'none'}")
    sys.exit(4 if failed else 0)


def check_torch(simulated):
    code = "import torch, sys; sys.exit(0 if torch.cuda.is_available() else 'PyTorch finds no GPU here')"
    done = subprocess.run([sys.executable, "-c", "import torch" if simulated else code], capture_output=True, text=True)
    if done.returncode:
        print(f"not available: {(done.stderr.strip().splitlines() or ['PyTorch does not start'])[-1]}")
        sys.exit(77)


def ours(case, device):
    name, batch = re.fullmatch(r"(.+)/b(\d+)", case).groups()
    return ["mpuc", "bench", "model", "--only", name, "--batch", batch, "--device", device, "--json", "--quiet"]


def run(command):
    """What a process prints as JSON, or None and the last line of its messages."""
    print("$", " ".join("python3" if part == sys.executable else part for part in command), flush=True)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return None, f"not finished after {LIMIT} s"
    if done.returncode:
        return None, (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    result = json.loads(done.stdout)
    return (result["results"][0] if "results" in result else result), None


def ms(result, name="median_s"):
    return f"{1e3 * result[name]:.2f}" if name in result else "-"


def table(cases, shown, lacking):
    """Times are wall clock and include the wait for the device; `device ms` is between two events on it. MiB: the most
    memory of tensors at once on the GPU."""
    gpu = [side for side in shown if side in ("PyTorch f32", "PyTorch TF32")]
    header = ["case", *(f"{side} ms" for side in shown), "mpuc, device ms", *(f"mpuc / {side}" for side in gpu),
              "mpuc MiB", *(f"{side} MiB" for side in gpu)]
    lines = [header, ["---"] * len(header)]
    for case in cases:
        row = {side: found.get(case, {}) for side, found in shown.items()}
        both = [row["mpuc"]["median_s"] / row[side]["median_s"] if row["mpuc"] and row[side] else None for side in gpu]
        peaks = [row["mpuc"].get("gpu_peak_bytes"), *(row[side].get("peak_bytes") for side in gpu)]
        lines.append([case, *(lacking.get((side, case), ms(row[side])) for side in shown), ms(row["mpuc"], "device_s"),
                      *("-" if ratio is None else f"{ratio:.2f}" for ratio in both),
                      *("-" if peak is None else f"{peak / 2**20:.0f}" for peak in peaks)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


main()
