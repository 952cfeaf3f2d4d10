"""Pieces of validation and of messages that several layers share."""

from collections.abc import Iterable

__all__ = ["listing"]


def listing(items: Iterable[object], most: int = 5) -> str:
    """At most `most` items for a message, then how many more there are.

    >>> listing(["a", "b", "c"], most=2)
    "'a', 'b' and 1 more"
    """
    items = [item.item() if hasattr(item, "item") else item for item in items]
    shown = ", ".join(repr(item) for item in items[:most])
    return shown if len(items) <= most else f"{shown} and {len(items) - most} more"
