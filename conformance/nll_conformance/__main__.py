"""``python -m nll_conformance``."""

from .cli import main

main()
