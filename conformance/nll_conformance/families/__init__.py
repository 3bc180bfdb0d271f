"""The families of losses: a folder each, found by walking this package."""
