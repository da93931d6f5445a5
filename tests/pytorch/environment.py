"""PyTorch for the CPU in a folder of its own, and the environments it is measured in."""

import collections
import contextlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PINNED = ["torch==2.15.0", "torchvision==0.29.2"]
# What these import on a CPU, and what the fixtures' definitions need.
NEEDED = ["filelock", "fsspec", "jinja2", "markupsafe", "mpmath", "networkx", "numpy", "pillow", "safetensors", "sympy",
          "typing_extensions"]
NVIDIA = ("cu", "nccl", "nv")


def python_of(venv):
    return Path(venv) / "bin" / "python"


def say(text):
    print(text, file=sys.stderr, flush=True)


def prepared(given, folder):
    """The Python that has PyTorch: of the virtual environment given, or of one made in `folder` on first use."""
    if given:
        python = Path(given) if Path(given).is_file() else python_of(given)
        if not imports(python):
            sys.exit(f"compare: {python} cannot import torch and torchvision; install both there, or name none and "
                     "let this program do so")
        return python
    venv = folder / "venv"
    python = python_of(venv)
    if not (python.exists() and imports(python)):
        say(f"installing PyTorch into {venv} (once)")
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        # Without all dependencies: on Linux they are gigabytes of CUDA libraries, of which a CPU needs none.
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, *PINNED, *NEEDED], check=True)
        if not imports(python):
            stand_in(venv)
        if not imports(python):
            sys.exit(f"compare: PyTorch in {venv} cannot be imported; see `{python} -c 'import torch'`")
    return python


def imports(python):
    return (os.access(python, os.X_OK)
            and subprocess.run([python, "-c", "import torch, torchvision"], capture_output=True).returncode == 0)


def stand_in(venv):
    """Makes libraries that stand in for NVIDIA's: each has the names that PyTorch's libraries look for, and answers
    every call with "no device"."""
    folder = next(Path(venv).glob("lib/python3*/site-packages/torch/lib"))
    present = {file.name for file in folder.iterdir()}
    missing, plain = set(), set()
    versioned = collections.defaultdict(dict)
    for library in folder.glob("*.so*"):
        facts = tool("readelf", "--wide", "--dynamic", "--dyn-syms", "--version-info", library)
        needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", facts))
        missing |= {name for name in needed if is_nvidias(name.removeprefix("lib")) and name not in present}
        # The version that a symbol asks for belongs to a library: "File: libx.so.1", then its "Name: V"s.
        owner, file = {}, None
        for found in re.finditer(r"File: (\S+)|Name: (\S+) +Flags", facts):
            file = found[1] or file
            if found[2]:
                owner[found[2]] = file
                versioned[file].setdefault(found[2], set())
        for symbol in re.findall(r" UND (\S+)", facts):
            name, _, version = symbol.partition("@")
            if owner.get(version) in missing:
                versioned[owner[version]][version].add(name)
            elif is_nvidias(name.lstrip("_")):
                plain.add(name)
    for name in sorted(missing):
        build(folder / name, versioned[name], plain)


def is_nvidias(name):
    return name.startswith(NVIDIA)


def build(path, versions, plain):
    """One library: symbols with their versions, and all those without any, since nothing says whose they are."""
    symbols = plain.union(*versions.values())
    # Registering kernels happens on loading and must go well; all else says cudaErrorNoDevice.
    answer = {name: 0 if name.startswith("__cuda") else 100 for name in sorted(symbols)}
    nodes = [f"{version} {{ {'global: ' + '; '.join(sorted(names)) + ';' if names else ''} }};"
             for version, names in versions.items()]
    with tempfile.TemporaryDirectory() as scratch:
        source, script = Path(scratch) / "stand_in.c", Path(scratch) / "versions"
        source.write_text("\n".join(f"long {name}(void) {{ return {value}; }}" for name, value in answer.items()))
        script.write_text("\n".join(nodes))
        extra = [f"-Wl,--version-script={script}"] if nodes else []
        tool("cc", "-shared", "-fPIC", "-w", "-fno-builtin", f"-Wl,-soname,{path.name}", *extra, "-o", path, source)


def tool(*command):
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        sys.exit(f"compare: {command[0]} is needed to make PyTorch importable without CUDA; install a C compiler and "
                 "binutils")
    except subprocess.CalledProcessError as error:
        sys.exit(f"compare: {' '.join(map(str, command))}: {error.stderr}")


def cores():
    """Those that this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def as_installed(threads):
    """Threads that stay on their cores: what a careful user does."""
    return {"OMP_NUM_THREADS": str(threads), "OMP_PROC_BIND": "true", "OMP_PLACES": "cores"}


def tuned(threads, folder):
    """The same made as fast as it goes: malloc keeps large blocks, where fresh ones fault page by page; and on AMD's
    processors MKL takes its AVX-512 kernels."""
    more = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(32 << 30), "MALLOC_TOP_PAD_": str(1 << 30)}
    if "AuthenticAMD" in processor():
        library = folder / "mkl_takes_amd_for_intel.so"
        if not library.exists():
            source = folder / "mkl_takes_amd_for_intel.c"
            source.write_text("int mkl_serv_intel_cpu_true(void) { return 1; }\n")
            tool("cc", "-shared", "-fPIC", "-o", library, source)
        more["LD_PRELOAD"] = str(library)
    return as_installed(threads) | more


def processor():
    """What Linux says of the processor."""
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.exists() else ""


def processor_name():
    found = re.search(r"model name\s*:\s*(.*)", processor())
    return found[1] if found else "unknown"


def in_front():
    """Run in a child before its program: puts it before other work, where the system lets us."""
    with contextlib.suppress(OSError):
        # The scheduler weighs sessions against each other before it weighs what runs in them.
        Path("/proc/self/autogroup").write_text("-19")
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -15)
