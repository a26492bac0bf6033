"""Files that are mapped are let go of, and stay readable."""

import mmap
import re
import sys
from pathlib import Path

import pytest

from stylization.memory import release_memory


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what a process has mapped is told on Linux")
def test_a_mapped_file_leaves_the_memory_and_comes_back(tmp_path: Path) -> None:
    path, size = tmp_path / "large", 32 * 2**20
    path.write_bytes(bytes(range(256)) * (size // 256))

    def resident_bytes() -> int:
        told = re.search(r"RssFile:\s+(\d+)", Path("/proc/self/status").read_text())
        assert told is not None
        return int(told[1]) * 1024

    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert mapped[:].count(7) == size // 256
        full = resident_bytes()
        release_memory()
        assert full - resident_bytes() > 0.9 * size
        assert mapped[size - 3 :] == bytes([253, 254, 255])
