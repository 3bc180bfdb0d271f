"""What torch itself replaces is no tampering; what anybody else replaces is."""

import subprocess
import sys
import textwrap


def said(body: str) -> str:
    program = """
    import torch
    from nll_conformance.originals import picture
    before, own = picture(), torch.manual_seed
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program) + textwrap.dedent(body)],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_dynamo_is_not_tampering():
    assert (
        said("""
    import torch._dynamo
    assert torch.manual_seed is not own
    print(before.put_back(everything=True), before.put_back(everything=True))
    """)
        == "() ()"
    )


def test_a_wrapper_of_somebody_elses_is():
    assert (
        said("""
    import functools
    torch.manual_seed = functools.wraps(own)(lambda *args: own(*args))
    print(before.put_back(everything=True), torch.manual_seed is own)
    """)
        == "('torch.manual_seed',) True"
    )
