"""The small task of the adapters' tests."""

from ..adapters.conftest import task

__all__ = ["task"]
