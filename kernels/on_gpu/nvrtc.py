"""Prints the folder of the newest NVRTC among this Python's packages (PyTorch needs one); nothing if there is none."""

import re
import sys
from pathlib import Path


def version(path):
    found = re.search(r"\.so\.(\d+)", path.name)
    return int(found[1]) if found else 0


FOUND = [path for place in sys.path for path in Path(place).glob("nvidia/*/lib/libnvrtc.so*")]
if FOUND:
    print(max(FOUND, key=version).parent)
