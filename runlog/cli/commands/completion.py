"""Print the completion script of a shell.

bash:  eval "$(runlog completion bash)"
zsh:   eval "$(runlog completion zsh)"
fish:  runlog completion fish | source
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from runlog.cli.errors import DONE
from runlog.cli.history import History
from runlog.cli.output import Out

# Names come from what was recorded. zsh and fish quote what they insert; for bash, runlog
# does. None of them takes open quotes out of its words, so runlog gets the line.
_BASH = """\
_runlog() {
    local word
    COMPREPLY=()
    while IFS= read -r word; do
        COMPREPLY+=("$word")
    done < <(runlog complete -- "${COMP_LINE:0:COMP_POINT}" "$2" 2>/dev/null)
}
complete -o default -F _runlog runlog"""
_ZSH = """\
_runlog() {
    local -a found
    found=("${(@f)$(runlog complete -- "${(j: :)words[1,CURRENT]}" 2>/dev/null)}")
    compadd -- "${(@)found:#}"
}
compdef _runlog runlog"""
_FISH = """\
function __runlog
    runlog complete -- (commandline -cp | string collect) 2>/dev/null
end
complete -c runlog -f -a '(__runlog)'"""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of completion."""
    parser.add_argument("shell", choices=tuple(SCRIPTS))


def run(args: Namespace, history: History, out: Out) -> int:  # noqa: ARG001 - of all
    """Print the script."""
    out.line(SCRIPTS[args.shell])
    return DONE
