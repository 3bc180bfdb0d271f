"""Put flash-attn's Python files where the adapter finds them, without building CUDA code.

Downloads the source distribution and unpacks its package beside the installed ones, as
``flash_attn_source``, so that nobody takes it for the package itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from pathlib import Path

REQUIREMENT = "flash-attn==2.8.3.post2"
DOWNLOAD = ("--no-deps", "--no-binary", ":all:", "--no-build-isolation")
NEEDED = ("packaging", "psutil", "setuptools", "wheel")


def main() -> None:
    """Fetch and unpack; needs pip and a registry."""
    pip = [sys.executable, "-m", "pip"]
    subprocess.run([*pip, "install", *NEEDED], check=True)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [*pip, "download", *DOWNLOAD, "--dest", folder, REQUIREMENT],
            env={**os.environ, "FLASH_ATTENTION_SKIP_CUDA_BUILD": "TRUE"},
            check=True,
        )
        (archive,) = Path(folder).glob("*.tar.gz")
        with tarfile.open(archive) as source:
            source.extractall(folder, filter="data")
        (package,) = Path(folder).glob("*/flash_attn")
        place = Path(sysconfig.get_paths()["purelib"]) / "flash_attn_source"
        place.mkdir(exist_ok=True)
        for file in package.rglob("*.py"):
            target = place / file.relative_to(package)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())


if __name__ == "__main__":
    main()
