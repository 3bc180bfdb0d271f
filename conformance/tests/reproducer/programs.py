"""Run many programs, each in a fork of a process that has done nothing but import torch."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def outcomes(programs: list[str]) -> list[str]:
    """How each program ended: "" for exit code 0, else the exception that it died of."""
    command = [sys.executable, str(HERE / "programs.py")]
    done = subprocess.run(
        command,
        input=json.dumps(programs),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=HERE,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _alone(text: str) -> str:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
            os.write(writing, _ending(text).encode()[:4000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said or "died"


def _ending(text: str) -> str:
    try:
        exec(compile(text, "reproducer.py", "exec"), {"__name__": "__main__"})
    except SystemExit as stop:
        return "passed" if not stop.code else f"SystemExit: {stop.code}"
    except BaseException as error:  # noqa: BLE001 - whatever the program dies of
        return f"{type(error).__name__}: {error}"
    return "passed"


if __name__ == "__main__":
    import torch
    import torch.testing
    import wrong_losses

    wrong_losses.right("cross_entropy")  # imported once, not in each fork
    torch.set_num_threads(1)
    torch.ones((), requires_grad=True).backward(torch.ones(()))  # the first imports 500 modules
    found = [_alone(text) for text in json.load(sys.stdin)]
    json.dump(["" if said == "passed" else said for said in found], sys.stdout)
