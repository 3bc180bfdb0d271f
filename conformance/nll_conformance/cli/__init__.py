"""The command line: one module a command, thin; the work is done elsewhere."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import NoReturn

import click

from .. import __version__
from ..errors import SuiteError, UsageError, unknown

COMMANDS = ("check", "bench", "list", "explain", "replay", "diff", "report", "selftest")
EXIT_USAGE, EXIT_SUITE, EXIT_INTERRUPTED = 2, 3, 130


class _Commands(click.Group):
    """Commands by module name, imported when asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            raise unknown("command", cmd_name, COMMANDS)
        module = importlib.import_module(f".{cmd_name}_", __name__)
        command = module.command
        assert isinstance(command, click.Command)
        return command


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nll-conformance")
def application() -> None:
    """Is this loss the negative log-likelihood that it claims to be?"""


def main() -> NoReturn:
    """Entry point of the console script; ends the process with the documented exit codes."""
    # A CI that runs out of time sends SIGTERM: what is known then is as good as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = application.main(standalone_mode=False)
    except click.exceptions.Abort:
        code = EXIT_INTERRUPTED
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    except click.exceptions.Exit as leaving:
        code = leaving.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code if error.exit_code != 1 else EXIT_USAGE
    except UsageError as error:
        click.echo(f"nll-conformance: {error}", err=True)
        code = EXIT_USAGE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:  # noqa: BLE001 - said to be ours, exit 3
        _confess(error)
        code = EXIT_SUITE
    sys.exit(code if isinstance(code, int) else 0)


def _confess(error: Exception) -> None:
    """A bug of the suite says that it is one."""
    import traceback

    text = str(error) if isinstance(error, SuiteError) else traceback.format_exc()
    click.echo(
        f"{text.rstrip()}\nnll-conformance: this is an error of the suite itself, not of the "
        "loss under test. Please report it with the lines above.",
        err=True,
    )
