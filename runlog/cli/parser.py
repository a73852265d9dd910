"""The parser of a command, which says in one line what is wrong."""

from __future__ import annotations

from argparse import Action, ArgumentParser
from collections.abc import Sequence
from typing import Any, NoReturn

from runlog.cli.errors import WrongUsageError


class Parser(ArgumentParser):
    """An ArgumentParser whose errors are those of the command line."""

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """Parse the arguments.

        Raises:
            WrongUsageError: they are wrong; the nearest option is offered.
        """
        found, unknown = self.parse_known_args(args, namespace)
        option = next((one for one in unknown if one.startswith("-")), None)
        if option is not None:
            self.error(self._no_option(option.partition("=")[0]))
        if unknown:
            self.error(f"there is one argument too many: {unknown[0]!r}")
        return found

    def _get_values(self, action: Action, arg_strings: list[str]) -> Any:
        """The value of an argument; of an option also "--", which argparse leaves out."""
        if action.option_strings and action.nargs is None and arg_strings == ["--"]:
            value = self._get_value(action, "--")
            self._check_value(action, value)
            return value
        return super()._get_values(action, arg_strings)

    def _no_option(self, name: str) -> str:
        from difflib import get_close_matches

        known = {one.lstrip("-"): one for one in self._option_string_actions}
        near = get_close_matches(name.lstrip("-"), list(known), 1, 0.5)
        offer = f": did you mean {known[near[0]]!r}?" if near else ""
        return f"there is no option {name}{offer}"

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong, with where to read on."""
        raise WrongUsageError(f"{message} (see {self.prog} --help)")
