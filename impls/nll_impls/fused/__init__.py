"""Fused losses: loss and gradient in one go, at the speed of memory.

``cpu`` runs kernels that Numba compiles, on PyTorch's own threads; ``compiled`` is written in
torch and compiled by inductor; ``triton`` holds kernels for a GPU; ``linear`` fuses the
projection in front of the loss and never holds all logits.
"""
