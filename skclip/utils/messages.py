"""Pieces of validation and of messages that several layers share."""

from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["listing"]


def listing(
    items: Iterable[Any],
    most: int = 5,
    *,
    show: Callable[[Any], str] = repr,
    separator: str = ", ",
) -> str:
    """At most `most` items for a message, then how many more there are.

    >>> listing(["a", "b", "c"], most=2)
    "'a', 'b' and 1 more"
    """
    items = [item.item() if hasattr(item, "item") else item for item in items]
    shown = separator.join(show(item) for item in items[:most])
    return shown if len(items) <= most else f"{shown} and {len(items) - most} more"
