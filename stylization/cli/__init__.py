"""The `stylization` command: what is done with runs and files beside training them."""

import argparse
from typing import TYPE_CHECKING, NoReturn

from stylization.cli import exporting, painting, serving, sheet, sources, study
from stylization.errors import clear_errors, printable

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def main(arguments: list[str] | None = None) -> None:
    """Run a subcommand. PyTorch is imported by those that need it, after the arguments have been read."""
    options = parsed(arguments)
    with clear_errors():
        options.run(options)


class _Parser(argparse.ArgumentParser):
    """Names in its errors may be those of files, which a shell has filled in."""

    def error(self, message: str) -> NoReturn:
        super().error(printable(message))


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """What was typed; `run` is the function that does it."""
    parser = _Parser(prog="stylization", description="Fast neural style transfer.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (painting, sheet, exporting, serving, study, sources):
        module.add(commands)
    options, rest = parser.parse_known_args(arguments)
    if rest and not ("words" in options and all(painting.is_override(word) for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:  # argparse takes words behind an option for none of its own
        options.words += rest
    return options
