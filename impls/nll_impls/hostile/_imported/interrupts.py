"""An import that raises KeyboardInterrupt."""

from __future__ import annotations

raise KeyboardInterrupt
