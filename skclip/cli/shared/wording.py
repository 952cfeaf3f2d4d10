"""Messages of functions in the words of the command that called them."""

import argparse
import re

__all__ = ["in_options"]


def in_options(text: str, arguments: argparse.Namespace) -> str:
    """`text`, where parameters of Python that are options of the command are these options.

    Of a study in a file nothing is an option.

    >>> given = argparse.Namespace(model=None, on_error="raise")
    >>> in_options("Pass model=None, on_error='skip' or jobs=2.", given)
    'Leave out --model, --on-error skip or jobs=2.'
    """
    names = "|".join(map(re.escape, vars(arguments)))
    if not names or getattr(arguments, "config", None) is not None:
        return text

    def option(match: re.Match[str]) -> str:
        return f"--{match['name'].replace('_', '-')}"

    def given(match: re.Match[str]) -> str:
        value = match["value"].strip("'\"")
        if value in ("None", "False"):
            return f"no {option(match)}"
        return option(match) if value == "True" else f"{option(match)} {value}"

    name = rf"(?<![\w/'\"-])(?P<name>{names})"
    text = re.sub(rf"\bPass {name}=None\b", lambda found: f"Leave out {option(found)}", text)
    text = re.sub(
        rf"{name} must be None\b", lambda found: f"{option(found)} must be left out", text
    )
    value = r"""(?P<value>'[^']*'|"[^"]*"|None\b|True\b|False\b|\d+(?:\.\d+)?)"""
    return re.sub(rf"{name}={value}", given, text)
