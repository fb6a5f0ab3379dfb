"""The command line: which commands there are, and how they end. A command is a file of `commands/` and a line here."""

from __future__ import annotations

import signal
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from ._version import __version__
from .commands import (
    attack,
    attest,
    chat,
    evaluate,
    export,
    finetune,
    importance,
    init,
    keygen,
    ledger,
    methods,
    quickstart,
    recipes,
    report,
    run,
    score,
    sweep,
    validate,
    verify,
)
from .errors import ExpungeError, InputError, Terminated
from .storage import no_room

app = typer.Typer(
    name="expunge",
    help="Make a language model forget, cheaply and in evidence.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

#: The exit code after Ctrl-C, as shells have it: 128 + SIGINT. After SIGTERM it is the same.
INTERRUPTED = 130

# In the order in which `expunge --help` lists them.
app.command()(quickstart.quickstart)
app.command()(init.init)
app.command()(run.run)
app.command()(validate.validate)
app.command("eval", context_settings=evaluate.ANY_OPTION)(evaluate.evaluate)
app.command()(importance.importance)
app.command()(finetune.finetune)
app.command()(sweep.sweep)
app.command()(attack.attack)
app.command()(export.export)
app.command()(report.report)
app.command()(chat.chat)
app.add_typer(ledger.ledger, name="ledger")
app.command()(attest.attest)
app.command()(verify.verify)
app.command()(keygen.keygen)
app.command()(methods.methods)
app.add_typer(score.score, name="score")
app.add_typer(recipes.recipes, name="recipes")


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="show the version and exit")] = False,
) -> None:
    if version:
        print(__version__)
        raise typer.Exit()


def main() -> None:
    """Entry point: 0 done, 1 failed while running, 2 the user's input is wrong, 3 by --strict not
    forgotten with the utility kept, 130 interrupted."""
    signal.signal(signal.SIGTERM, _terminate)
    # PEFT asks transformers for an attribute under its old name on every call; users can do nothing about it.
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
    try:
        # Typer returns the code of an exit, and of Ctrl-C, in place of raising it; commands return None.
        code = app(standalone_mode=False)
    except typer.Abort:
        code = INTERRUPTED
    except InputError as error:
        for problem in error.problems:
            print(f"Error: {problem}", file=sys.stderr)
        sys.exit(2)
    except ExpungeError as error:
        print(f"Failed: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        full = no_room(error, Path(error.filename or "."))
        if full is None:
            raise
        print(f"Failed: {full} Make room, and repeat the command.", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        if _is_usage_error(error):
            error.show()  # type: ignore[attr-defined]
            sys.exit(2)
        raise
    if code == INTERRUPTED:
        print("Interrupted. A run goes on where it was by the same command with --resume.", file=sys.stderr)
    if code:
        sys.exit(code)


def _terminate(*_: object) -> None:
    """End as by Ctrl-C. A second signal would interrupt the record of the first."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated


def _is_usage_error(error: Exception) -> bool:
    """Whether the command line itself was wrong: click's exceptions show themselves."""
    return hasattr(error, "show") and hasattr(error, "exit_code")
