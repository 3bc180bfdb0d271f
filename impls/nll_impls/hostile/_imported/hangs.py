"""An import that never ends."""

from __future__ import annotations

import time

time.sleep(10_000)
