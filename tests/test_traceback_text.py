"""The text of a traceback: Python's layout, libraries marked, always bounded."""

from __future__ import annotations

import linecache
import os
import sys
import sysconfig
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stopwatch import Stopwatch

from runlog._traceback import format_traceback

QUICK = 0.02  # seconds that the text of a hostile exception may take
MANY = 10_000


def shorten(value: object, room: int) -> str:
    """Like the extension's, but for secrets."""
    text = str(value)
    return text if len(text) <= room else f"{text[: room // 2]}<cut>{text[-room // 3 :]}"


def raised(action: Callable[[], object]) -> BaseException:
    try:
        action()
    except BaseException as error:  # noqa: BLE001
        return error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)
    raise AssertionError("nothing was raised")


def text_of(error: BaseException) -> str:
    return format_traceback(error, shorten)


def quick_text_of(error: BaseException) -> str:
    """The text, which is made in time; an import or a first read may delay the first."""
    text_of(error)
    took = []
    for _ in range(3):
        watch = Stopwatch()
        text = text_of(error)
        took.append(watch.seconds)
    assert min(took) < QUICK
    return text


def as_python_does(error: BaseException) -> str:
    """Python's own text, without the lines of its carets."""
    lines = "".join(traceback.format_exception(error)).rstrip("\n").split("\n")
    return "\n".join(line for line in lines if not line.strip(" |") or line.strip(" |^~"))


def divide(n: int = 0) -> float:
    return divide(n - 1) if n else 1 / 0


def caused() -> None:
    try:
        divide()
    except ZeroDivisionError as error:
        raise ValueError("two\nlines") from error


def in_context() -> None:
    try:
        caused()
    except ValueError:
        raise KeyError("k")  # noqa: B904


def hidden() -> None:
    try:
        divide()
    except ZeroDivisionError:
        raise ValueError("alone") from None


def noted() -> None:
    error = ValueError()
    error.add_note("one\ntwo")
    error.add_note("three")
    raise error


def group(*, depth: int = 2) -> None:
    members: list[Exception] = [raised_error(divide), raised_error(in_context)]
    if depth:
        members.append(raised_error(lambda: group(depth=depth - 1)))
    raise ExceptionGroup("some", members)


def raised_error(action: Callable[[], object]) -> Exception:
    error = raised(action)
    assert isinstance(error, Exception)
    return error


def from_a_group() -> None:
    try:
        group(depth=0)
    except ExceptionGroup as error:
        raise RuntimeError("after all") from error


def a_wide_group() -> None:
    raise ExceptionGroup("wide", [ValueError(n) for n in range(17)])


class OwnError(Exception):
    class InnerError(Exception):
        pass


def of_a_class() -> None:
    raise OwnError.InnerError("inner")


@pytest.mark.parametrize(
    "action",
    [
        divide,
        caused,
        in_context,
        hidden,
        noted,
        group,
        from_a_group,
        a_wide_group,
        of_a_class,
        lambda: divide(3),
        lambda: divide(5),
        lambda: compile("a b", "file.py", "exec"),
    ],
)
def test_the_layout_is_pythons(action: Any) -> None:
    error = raised(action)
    assert text_of(error) == as_python_does(error)


def test_an_exception_that_was_never_raised_is_a_line() -> None:
    assert text_of(ValueError("x")) == "ValueError: x"
    assert text_of(ExceptionGroup("g", [ValueError("x")])) == as_python_does(
        ExceptionGroup("g", [ValueError("x")])
    )


SITE = "/app/.venv/lib/python3.11/site-packages"
STDLIB = sysconfig.get_path("stdlib")


def calling(file: str, module: str) -> Any:
    """A function of a module in such a file: it calls the first of its arguments."""
    space: dict[str, Any] = {"__name__": module}
    code = "def f(first, *others):\n    return first(*others)"
    exec(compile(code, file, "exec"), space)
    return space["f"]


def files_of(text: str, *, libraries: bool) -> list[str]:
    lines = [line for line in text.split("\n") if line.startswith('  File "')]
    return [
        line.split('"')[1] for line in lines if line.endswith(" [library]") == libraries
    ]


@pytest.mark.parametrize(
    ("file", "module", "is_library"),
    [
        (f"{SITE}/requests/api.py", "requests.api", True),
        ("/usr/lib/python3/dist-packages/yaml/__init__.py", "yaml", True),
        (f"{STDLIB}/json/decoder.py", "json.decoder", True),
        ("<frozen importlib._bootstrap>", "importlib._bootstrap", True),
        ("/src/langgraph/pregel/main.py", "langgraph.pregel.main", True),
        ("/src/langchain_core/runnables/base.py", "langchain_core.runnables.base", True),
        ("/src/runlog/hooks.py", "runlog.hooks", True),
        ("/app/langgraph_app/nodes.py", "langgraph_app.nodes", False),
        ("/app/nodes.py", "nodes", False),
        ("/app/my-site-packages-tool/x.py", "x", False),
        ("<string>", "__main__", False),
    ],
)
def test_frames_of_libraries_are_marked(file: str, module: str, is_library: bool) -> None:
    text = text_of(raised(lambda: calling(file, module)(divide)))
    mark = " [library]" if is_library else ""
    assert f'  File "{file}", line 2, in f{mark}\n' in text
    assert files_of(text, libraries=True) == [file] * is_library


def test_a_program_that_is_installed_is_told_from_libraries() -> None:
    """Then the package that LangGraph's frames lead to is the program."""
    modules = ["langgraph.main", "langchain_core.base", "agents.nodes", "httpx.client"]
    modules += ["agents.hooks", "httpx.api"]
    files = [f"{SITE}/{module.replace('.', '/')}.py" for module in modules]
    files.insert(1, f"{STDLIB}/contextlib.py")
    modules.insert(1, "contextlib")
    first, *others = map(calling, files, modules)
    error = raised(lambda: first(*others, int, "x"))
    assert error.__traceback__ is not None
    text = text_of(error.with_traceback(error.__traceback__.tb_next))
    assert files_of(text, libraries=False) == [files[3], files[5]]
    assert files_of(text, libraries=True) == [files[n] for n in (0, 1, 2, 4, 6)]


def test_a_library_alone_is_not_the_program() -> None:
    error = raised(lambda: calling(f"{SITE}/langgraph/x.py", "langgraph.x")(int, "x"))
    assert error.__traceback__ is not None
    text = text_of(error.with_traceback(error.__traceback__.tb_next))
    assert files_of(text, libraries=False) == []


# Hostile exceptions


def test_of_a_chain_of_thousands_both_ends_are_shown() -> None:
    error: BaseException = ValueError("first")
    for n in range(MANY):
        later = ValueError(f"later {n}")
        later.__context__ = error
        error = later
    text = quick_text_of(error)
    assert text.endswith(f"ValueError: later {MANY - 1}")
    assert text.startswith("<cut: earlier exceptions>\n\nDuring handling of")
    assert "\n<cut: 984 exceptions>\n" in text
    assert text.count("ValueError: later ") == 16


def test_the_first_of_a_long_chain_is_shown() -> None:
    error: BaseException = KeyError("first")
    for n in range(100):
        later = ValueError(f"later {n}")
        later.__cause__ = error
        error = later
    text = quick_text_of(error)
    assert text.startswith("KeyError: 'first'\n\nThe above exception was the direct")
    assert "<cut: 85 exceptions>" in text


def test_exceptions_that_name_one_another_are_shown_once() -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    one.__context__ = one
    assert quick_text_of(one) == (
        "ValueError: two\n\n"
        "The above exception was the direct cause of the following exception:\n\n"
        "ValueError: one"
    )


def test_the_same_member_of_a_group_is_shown_again_without_its_stack() -> None:
    member = raised_error(divide)
    text = text_of(ExceptionGroup("g", [member, member]))
    assert text.count("| ZeroDivisionError: division by zero") == 2
    assert text.count("1 / 0") == 1


def recurse() -> None:
    recurse()


def even() -> None:
    odd()


def odd() -> None:
    even()


def test_repeated_frames_are_told_once() -> None:
    text = quick_text_of(raised(recurse))
    assert len(text.split("\n")) < 15
    (line,) = (line for line in text.split("\n") if "Previous line repeated" in line)
    assert int(line.split()[-3]) > 500


def test_of_a_deep_stack_the_first_and_the_last_frames_are_shown() -> None:
    text = quick_text_of(raised(even))
    lines = text.split("\n")
    (cut,) = (line for line in lines if line.startswith("  <cut: "))
    assert int(cut.split()[1]) > 500
    assert lines.index(cut) * 2 < len(lines)
    shown = len(files_of(text, libraries=False))
    assert shown == 240
    assert lines[-1].startswith("RecursionError: maximum recursion depth exceeded")


def stack_of(depth: int) -> Any:
    """A stack of two frames in turn."""
    one, two = (raised(action).__traceback__ for action in (divide, caused))
    at: Any = None
    for n in range(depth):
        of: Any = one if n % 2 else two
        at = types.TracebackType(at, of.tb_frame, of.tb_lasti, of.tb_lineno)
    return at


def test_a_stack_of_a_million_frames_is_counted_as_far_as_that_is_quick() -> None:
    text = text_of(ValueError("deep").with_traceback(stack_of(50_000)))
    assert "  <cut: 49760 frames>\n" in text
    stack = stack_of(1_000_000)
    text = text_of(ValueError("deep").with_traceback(stack))
    assert "  <cut: 119760 frames>\n" in text
    assert text.endswith("  <cut: further frames>\nValueError: deep")
    while stack.tb_next is not None:  # else it is freed by recursion
        stack = stack.tb_next


def test_of_a_wide_group_the_first_members_are_shown() -> None:
    error = ExceptionGroup("g", [ValueError(n) for n in range(MANY)])
    text = quick_text_of(error)
    assert "    | ValueError: 14\n    +---------------- ... ----------------\n" in text
    assert "    | and 9985 more exceptions\n    +-" in text
    assert text == as_python_does(error)


def test_groups_within_groups_are_shown_to_a_depth() -> None:
    error: Exception = ValueError("x")
    for _ in range(200):
        error = ExceptionGroup("g", [error])
    text = quick_text_of(error)
    assert text.count("ExceptionGroup: g (1 sub-exception)") == 7
    assert "and 1 more exception\n" in text


def test_groups_of_groups_are_shown_to_a_number() -> None:
    error: Exception = ExceptionGroup("g", [raised_error(divide) for _ in range(15)])
    for _ in range(3):
        error = ExceptionGroup("g", [error] * 15)
    wide = ExceptionGroup("g", [ExceptionGroup("h", [ValueError(n)]) for n in range(60)])
    assert quick_text_of(error).count("1 / 0") <= 48
    for error in (ExceptionGroup("all", [wide] * 3), wide):
        assert len(quick_text_of(error)) < 20_000


def test_a_source_line_of_a_megabyte_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "long.py"
    path.write_text("def f():\n    raise ValueError('x')  # " + "y" * (1 << 20) + "\n")
    space: dict[str, Any] = {}
    exec(compile(path.read_text(), str(path), "exec"), space)
    text = quick_text_of(raised(space["f"]))
    line = text.split("\n")[2]
    assert line.startswith("    raise ValueError('x')  # yyy") and len(line) < 260


def module_in(path: Path, code: str) -> Any:
    path.write_text(code)
    space: dict[str, Any] = {}
    exec(compile(code, str(path), "exec"), space)
    return space["f"]


def test_a_source_that_is_gone_has_no_lines(tmp_path: Path) -> None:
    path = tmp_path / "gone.py"
    function = module_in(path, "def f():\n    1 / 0\n")
    path.unlink()
    assert text_of(raised(function)) == (
        "Traceback (most recent call last):\n"
        f'  File "{path}", line 2, in f\n'
        "ZeroDivisionError: division by zero"
    )


def test_a_source_that_has_changed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "changed.py"
    for number in (1, 2, 3):
        function = module_in(path, f"def f():\n    {number} / 0\n")
        os.utime(path, ns=(number, number))
        assert f"\n    {number} / 0\n" in text_of(raised(function))
    path.write_text("def f(): pass\n")
    assert '", line 2, in f\nZeroDivisionError' in text_of(raised(function))


def test_a_name_that_is_no_file_is_not_opened(tmp_path: Path) -> None:
    """A pipe would wait for a writer, and a device has no end."""
    pipe = tmp_path / "pipe.py"
    os.mkfifo(pipe)
    for name in (str(pipe), "/dev/zero", str(tmp_path), "nul\0.py", "", "\udc80.py"):
        function = calling("m.py", "m")
        function.__code__ = function.__code__.replace(co_filename=name)
        text = quick_text_of(raised(lambda f=function: f(int, "x")))  # type: ignore[misc]
        assert text.endswith("ValueError: invalid literal for int() with base 10: 'x'")


def test_a_line_far_down_a_large_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "large.py"
    code = "#" * 70_000 + "\n" + "# \u00e4\n" * 40_000 + "def f():\n    1 / 0"
    text = quick_text_of(raised(module_in(path, code)))
    assert f'  File "{path}", line 40003, in f\n    1 / 0\n' in text


def test_much_source_is_read_in_part(tmp_path: Path) -> None:
    """The lines of the program's own frames come first."""
    code = "#" * (3 << 20) + "\ndef f(first, *others):\n    return first(*others)\n"
    functions = []
    for n in range(8):
        path = tmp_path / ("site-packages" if n < 7 else "app") / f"m{n}.py"
        path.parent.mkdir(exist_ok=True)
        functions.append(module_in(path, code))
    text = text_of(raised(lambda: functions[0](*functions[1:], int, "x")))
    lines = text.split("\n")
    own = next(n for n, line in enumerate(lines) if "m7.py" in line)
    assert lines[own + 1] == "    return first(*others)"
    assert lines.count("    return first(*others)") == 1
    text = text_of(raised(lambda: functions[0](int, "x")))
    assert "return first(*others)" in text


def test_lines_that_a_notebook_keeps_are_shown() -> None:
    name = "<ipython-input-1>"
    code = "def f():\n    1 / 0\n"
    linecache.cache[name] = (len(code), None, code.splitlines(True), name)
    space: dict[str, Any] = {}
    exec(compile(code, name, "exec"), space)
    try:
        assert f'File "{name}", line 2, in f\n    1 / 0\n' in text_of(raised(space["f"]))
    finally:
        del linecache.cache[name]


class HostileError(ValueError):
    """Every attribute is computed, and raises."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __str__(self) -> str:
        return "said"


def test_no_attribute_of_the_program_is_computed() -> None:
    def fail() -> None:
        raise HostileError

    error = raised_hostile(fail)
    assert text_of(error).endswith(".HostileError: said")
    assert "raise HostileError" in text_of(error)


def raised_hostile(action: Callable[[], object]) -> BaseException:
    try:
        action()
    except HostileError as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize("notes", [5, "text", {"a": 1}, None, [], ()])
def test_notes_that_are_none_are_left_out(notes: Any) -> None:
    error = ValueError("x")
    error.__notes__ = notes
    assert text_of(error) == "ValueError: x"


def test_many_notes_are_cut() -> None:
    error = ValueError("x")
    for n in range(MANY):
        error.add_note(f"note {n} " + "y" * 100_000 * (n < 2))
    text = quick_text_of(error)
    assert "\nnote 7 \n<cut: 9992 notes>" in text
    assert len(text) < 4000


def test_a_huge_message_is_cut() -> None:
    text = quick_text_of(ValueError("x" * 10_000_000 + "end"))
    assert len(text) < 5000 and text.endswith("end")


@pytest.mark.parametrize("value", [None, -5, 10**30, "x\ny" * 1000, object(), b"x"])
@pytest.mark.parametrize("field", ["msg", "filename", "lineno", "text", "offset"])
def test_a_syntax_error_may_say_anything(field: str, value: object) -> None:
    error = SyntaxError("bad", ("f.py", 1, 2, "co de"))
    setattr(error, field, value)
    text = quick_text_of(error)
    assert "SyntaxError: " in text
    assert len(text) < 5000


def test_strange_names_stay_on_one_line() -> None:
    function = calling("a\nb\r.py" + "c" * 5000, "m")
    function.__code__ = function.__code__.replace(co_name="f\ng" * 1000)
    text = text_of(raised(lambda: function(int, "x")))
    assert all(len(line) < 600 for line in text.split("\n"))
    assert len(text.split("\n")) == 5


def test_nothing_but_the_exception_holds_it() -> None:
    error = raised(in_context)
    before = sys.getrefcount(error), sys.getrefcount(error.__traceback__)
    text_of(error)
    assert (sys.getrefcount(error), sys.getrefcount(error.__traceback__)) == before
