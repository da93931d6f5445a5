"""NVRTC by its C interface."""

import ctypes
import os
import pathlib
import sys

OPTIONS = (b"--gpu-architecture=compute_80", b"-lineinfo", b"--std=c++17")


class Refused(Exception):
    """The compiler's log of a source that it refuses."""


class Nvrtc:
    """A loaded NVRTC."""

    def __init__(self, path=None):
        """Loads the library at `path`, in MPUC_NVRTC, in Python's packages or where the system finds it."""
        packaged = (str(file) for folder in map(pathlib.Path, sys.path)
                    for file in sorted(folder.glob("nvidia/*/lib/libnvrtc.so.*")))
        path = path or os.environ.get("MPUC_NVRTC") or next(packaged, "libnvrtc.so")
        try:
            self.library = ctypes.CDLL(path)
        except OSError as error:
            sys.exit(f"indigo: {path}: {error}; install the Python package nvidia-cuda-nvrtc or give --nvrtc")

    def ptx(self, source, name, headers):
        """The PTX of a source; `headers` are texts by the name of their include."""
        program = ctypes.c_void_p()
        array = ctypes.c_char_p * len(headers)
        texts, names = (array(*map(str.encode, part)) for part in (headers.values(), headers))
        self.call("CreateProgram", ctypes.byref(program), source.encode(), name.encode(), len(headers), texts, names)
        try:
            options = (ctypes.c_char_p * len(OPTIONS))(*OPTIONS)
            if self.library.nvrtcCompileProgram(program, len(OPTIONS), options) != 0:
                raise Refused(self.text(program, "ProgramLog"))
            return self.text(program, "PTX")
        finally:
            self.call("DestroyProgram", ctypes.byref(program))

    def text(self, program, what):
        size = ctypes.c_size_t()
        self.call(f"Get{what}Size", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self.call(f"Get{what}", program, buffer)
        return buffer.value.decode()

    def call(self, function, *arguments):
        code = getattr(self.library, f"nvrtc{function}")(*arguments)
        if code != 0:
            sys.exit(f"indigo: nvrtc{function} failed with code {code}")
