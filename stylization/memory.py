"""How the process treats its memory on a CPU."""

import ctypes
import sys
from pathlib import Path


def keep_memory() -> None:
    """Have glibc keep the memory that tensors free, instead of handing every large block back to the kernel.

    On a CPU each step allocates and frees the same hundreds of megabytes; returned, they are page-faulted in anew,
    zeroed, at every step. Changes no result. Does nothing where there is no glibc.
    """
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        m_mmap_max, m_trim_threshold, m_top_pad = -4, -1, -2  # malloc.h
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, 2**31 - 1)
        libc.mallopt(m_top_pad, 64 * 2**20)


def release_memory() -> None:
    """Give back what is not in use: what glibc has been handed back, in whatever pieces, and what is mapped."""
    if sys.platform.startswith("linux") and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
    release_mapped()


def release_mapped() -> None:
    """Let go of the pages of files that are mapped to be read and shared: of libvips', which maps its files whole.

    They stay in the kernel's cache, and come back when they are read again. Does nothing but on Linux.
    """
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return
    madvise, dont_need = ctypes.CDLL(None).madvise, 4  # sys/mman.h
    for line in maps.read_text().splitlines():
        span, access, *_ = line.split()
        if access == "r--s":
            start, end = (int(address, 16) for address in span.split("-"))
            madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), dont_need)
