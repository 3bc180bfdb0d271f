"""What the reproducers of several rules do: see ``shows`` of :func:`.contract.rule`."""

from __future__ import annotations

RAISES = """
    try:
        loss = {call}
    except Exception:
        raise SystemExit(0)  # refused, which is right
    raise AssertionError("accepted: an exception was expected")
"""
REFUSED_CLEANLY = """
    def settings():
        return torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads()
    before = settings()
    try:
        loss = {call}
    except Exception:
        assert settings() == before, "refused, but grad mode or the like is another"
"""
RIGHT_OR_RAISES = """
    try:
        loss = {call}
        {backward}
    except Exception:
        raise SystemExit(0)  # refused, which is right
"""
INPUTS_KEPT = """
    before = [tensor.detach().clone() for tensor in [{names}]]
    asked = [tensor.requires_grad for tensor in [{names}]]
    loss = {call}
    {backward}
    assert [tensor.requires_grad for tensor in [{names}]] == asked, "requires_grad changed"
    for tensor, old in zip([{names}], before):
        torch.testing.assert_close(tensor.detach(), old, rtol=0, atol=0, equal_nan=True)
"""
UPSTREAM_KEPT = """
    loss = {call}
    upstream = upstream.to(loss.dtype)
    before = upstream.clone()
    loss.backward(upstream)
    torch.testing.assert_close(upstream, before, rtol=0, atol=0, equal_nan=True)
"""
AUTOCAST = """
    half = torch.float16 if input.dtype == torch.float16 else torch.bfloat16
    with torch.autocast(input.device.type, dtype=half):
        loss = {call}
    {backward}
"""
SECOND_ORDER = """
    loss = {call}
    (grad,) = torch.autograd.grad(loss, input, upstream, create_graph=True)
    direction = (torch.arange(input.numel()) * 5 % 7 - 3).view(input.shape) / 4
    (second_derivative,) = torch.autograd.grad((grad * direction.to(input)).sum(), input)
"""
SECOND_ORDER_EVERYWHERE = """
    loss = {call}
    leaves = [tensor for tensor in [{names}] if tensor.requires_grad]
    grads = torch.autograd.grad(loss, leaves, upstream, create_graph=True)
    steps = [(torch.arange(leaf.numel()) * 5 % 7 - 3).view(leaf.shape) / 4 for leaf in leaves]
    along = sum((grad * step.to(grad)).sum() for grad, step in zip(grads, steps))
    parts = torch.autograd.grad(along, leaves, materialize_grads=True)
    second_derivative = torch.cat([part.flatten() for part in parts])
"""
SECOND_ORDER_SQUARED = """
    loss = (({call}) * upstream).sum() ** 2 / 2
    (grad,) = torch.autograd.grad(loss, input, create_graph=True)
    direction = (torch.arange(input.numel()) * 5 % 7 - 3).view(input.shape) / 4
    (second_derivative,) = torch.autograd.grad((grad * direction.to(input)).sum(), input)
"""
FORWARD_OVER_REVERSE = """
    def slope(input):
        return torch.func.grad(lambda input: (({call}) * upstream).sum())(input)
    direction = ((torch.arange(input.numel()) * 5 % 7 - 3).view(input.shape) / 4).to(input)
    _, second_derivative = torch.func.jvp(slope, (input.detach(),), (direction,))
"""
PENALTY = """
    loss = {call}
    (grad,) = torch.autograd.grad(loss, input, upstream, create_graph=True)
    direction = (torch.arange(input.numel()) * 5 % 7 - 3).view(input.shape) / 4
    penalty = (grad * direction.to(input)).sum() + (input * 0.0).sum()
    (second_derivative,) = torch.autograd.grad(penalty, input)
"""
INTERLEAVED = """
    loss = {call}
    made = [(loss, upstream, [{leaves}])]
    {other_tensors}
    loss = {other_call}
    made.append((loss, upstream, [{leaves}]))
    for loss, upstream, _ in made:
        loss.backward(upstream)
    loss, _, [{leaves}] = made[{judged}]
"""
ONLY_ASKED = """
    loss = {call}
    {backward}
    extra = [t for t in [{names}] if not t.requires_grad and t.grad is not None]
    assert not extra, ("a gradient arrived that nobody asked for", extra)
"""

#: Of the forward-mode derivative by the input.
JVP = """
    def function(input):
        return {call}
    direction = ((torch.arange(input.numel()) * 5 % 7 - 3).view(input.shape) / 4).to(input)
    _, tangent = torch.func.jvp(function, (input,), (direction,))
    forward_mode_derivative = tangent.sum()
"""
