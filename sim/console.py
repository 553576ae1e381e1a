"""The ``sparseloom`` command: one sub-command for each room, loaded when it is called."""
import importlib
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from sparseloom.hw.errors import LinkError, ToolError, UnitError
from sparseloom.model.errors import InputError
from sparseloom.sim.errors import SimulationError

ROOMS = {
    "demo": ("sparseloom.sim.demo", "demo", "A real encoder to bit-exact RTL, in one command."),
    "model": ("sparseloom.model.cli", "app", "Prune and quantise encoders."),
    "hw": ("sparseloom.hw.cli", "app",
           "Generate the block-sparse matrix unit, and see whether it fits a device."),
    "sim": ("sparseloom.sim.cli", "app", "Prove layers in RTL simulation."),
    "explore": ("sparseloom.sim.explore.cli", "explore",
                "Find the arrays and prunings that suit a device best."),
    "report": ("sparseloom.sim.page.cli", "report", "Everything that was found, as one HTML file."),
}
"""Sub-command: module, what it calls there, help."""


class _Rooms(Mapping[str, Any]):
    """Sub-commands by name; looking one up imports its module."""

    def __init__(self):
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str):
        if name not in self._loaded:
            module, attribute, _ = ROOMS[name]
            found = getattr(importlib.import_module(module), attribute)
            if not isinstance(found, typer.Typer):
                found = _single(found)
            command = get_command(found)
            command.name = name
            self._loaded[name] = command
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(ROOMS)

    def __len__(self) -> int:
        return len(ROOMS)


def _single(function) -> typer.Typer:
    """A command of its own from a function."""
    one = typer.Typer(add_completion=False)
    one.command()(function)
    return one


class LazyGroup(TyperGroup):
    """Lists the rooms without importing them, so that ``--help`` is quick."""

    def __init__(self, **settings: Any):
        super().__init__(**settings)
        self.commands = _Rooms()  # type: ignore[assignment]

    def list_commands(self, ctx) -> list[str]:
        return list(ROOMS)

    def get_command(self, ctx, cmd_name: str):
        if cmd_name not in ROOMS:
            return None
        return TyperCommand(cmd_name, help=ROOMS[cmd_name][2])

    def resolve_command(self, ctx, args: list[str]):
        if args and args[0] in ROOMS:
            return args[0], self.commands[args[0]], args[1:]
        return super().resolve_command(ctx, args)


app = typer.Typer(cls=LazyGroup, no_args_is_help=True, pretty_exceptions_enable=False,
                  add_completion=False)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sparseloom {version('sparseloom')}")
        raise typer.Exit


@app.callback()
def sparseloom(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True,
                                    help="Print the version.")] = False,
) -> None:
    """From a transformer encoder to a verified block-sparse FPGA core."""


def main() -> None:
    """Run the command; what is wrong is one line, never a stack trace.

    Exit code 2 means wrong input, 1 that something checked did not hold,
    or that a tool or a board failed.
    """
    try:
        app()
    except InputError as error:
        _stop(str(error), 2)
    except (SimulationError, ToolError, LinkError, UnitError) as error:
        _stop(str(error), 1)
    except OSError as error:
        if error.filename is None:
            raise
        _stop(f"{error.filename}: {error.strerror}", 2)


def _stop(message: str, code: int) -> None:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
