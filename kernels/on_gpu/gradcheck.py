"""`gradcheck.py DEVICE CASES FOLDER` checks every op on a device and prints a table.

Each op has a process of its own, because after a fault a GPU context refuses all later work. FOLDER/gradcheck.json keeps
the results; an op that passed is not checked again. Exit code 4 if an op failed.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

# Seconds that an op may take; with 31 ops, one op that does not end must not use the time of the others.
LIMIT = 120


def gradcheck(device, cases, *more):
    """The process's exit code, its report or None, and its messages."""
    command = ["mpuc", "gradcheck", "--device", device, "--cases", cases, "--json", "--quiet", *more]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return 124, None, f"not finished after {LIMIT} s"
    try:
        report = json.loads(done.stdout)
    except json.JSONDecodeError:
        report = None
    return done.returncode, report, done.stderr.strip()


def main():
    device, cases, folder = sys.argv[1:]
    path = Path(folder) / "gradcheck.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    _, report, messages = gradcheck("cpu", "0")
    if report is None:
        sys.exit(f"the list of ops cannot be read from `mpuc gradcheck --device cpu --cases 0 --json`: {messages}")
    ops = [row["op"] for row in report["ops"]]
    # Each row at once: what is stopped at a time limit leaves the rows before it.
    print("| op | cases | worst relative error | s | result |\n| --- | --- | --- | --- | --- |")
    for op in ops:
        if results.get(op, {}).get("rc") != 0:
            start = time.monotonic()
            rc, report, messages = gradcheck(device, cases, "--op", op)
            row = report["ops"][0] if report else {}
            rc = rc or (0 if report else 1)
            results[op] = {"rc": rc, "seconds": time.monotonic() - start, **row}
            path.write_text(json.dumps(results, indent=1) + "\n")
            if rc:
                print("\n".join([f"{op}: exit code {rc}", *row.get("details", []), messages]))
        row = results[op]
        error = row.get("worst_relative_error")
        error = "-" if error is None else f"{error:.1e}"
        verdict = f"FAILED, exit code {row['rc']}" if row["rc"] else "ok"
        print(f"| {op} | {row.get('cases', '-')} | {error} | {row['seconds']:.1f} | {verdict} |", flush=True)
    failed = [op for op in ops if results[op]["rc"]]
    print(f"{len(ops) - len(failed)} of {len(ops)} ops passed with {cases} random cases each; failed: "
          f"{', '.join(failed) or 'none'}")
    sys.exit(4 if failed else 0)


main()
