"""The losses, a module for each technique; what they share is in :mod:`.rows`."""
