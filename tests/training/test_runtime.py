"""Settings of the process have the effect that they promise."""

import platform
import subprocess
import sys

import pytest

RESIDENT = """
import ctypes, sys
from viewfinder.training.runtime import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()
libc = ctypes.CDLL("libc.so.6")
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
block = libc.malloc(16 << 20)
ctypes.memset(block, 1, 16 << 20)
before = int(open("/proc/self/statm").read().split()[1])
libc.free(block)
print((before - int(open("/proc/self/statm").read().split()[1])) * 4096 >> 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt belongs to glibc")
def test_freed_memory_is_kept_only_on_request() -> None:
    def measure_returned_mebibytes(mode: str) -> int:
        process = subprocess.run([sys.executable, "-c", RESIDENT, mode], capture_output=True, text=True, check=True)
        return int(process.stdout)

    assert measure_returned_mebibytes("keep") <= 1
    assert measure_returned_mebibytes("leave") >= 15
