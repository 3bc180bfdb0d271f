"""Whether this machine has a GPU, told without importing torch."""

from pathlib import Path

GPU = Path("/dev/nvidiactl").exists()
