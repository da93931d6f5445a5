"""`losses.py RUN RUN` compares the losses of all steps of two runs; exit code 4 if one differs by more than 1e-3."""

import json
import sys
from pathlib import Path

LIMIT = 1e-3


def losses(run):
    records = map(json.loads, (Path(run) / "metrics.jsonl").read_text().splitlines())
    return [record["loss"] for record in records if record["step"] is not None]


def main():
    on_cpu, on_device = map(losses, sys.argv[1:])
    if not on_cpu or len(on_cpu) != len(on_device):
        sys.exit(f"the runs have {len(on_cpu)} and {len(on_device)} steps; the same number, at least 1, is needed")
    print("| step | loss on the CPU | loss on the device | relative difference |\n| --- | --- | --- | --- |")
    passed = True
    for step, (one, other) in enumerate(zip(on_cpu, on_device)):
        # A loss that is not finite is stored as null.
        if one is None or other is None:
            print(f"| {step} | {one} | {other} | not finite |")
            passed = False
            continue
        difference = abs(one - other) / abs(one)
        print(f"| {step} | {one:.6f} | {other:.6f} | {difference:.1e} |")
        passed = passed and difference <= LIMIT
    print(f"limit of the relative difference: {LIMIT:.0e}; {'kept' if passed else 'EXCEEDED'}")
    sys.exit(0 if passed else 4)


main()
