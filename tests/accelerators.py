"""A pretended device, for code that would run on an accelerator.

It has tensors of the CPU that say they are elsewhere. What a GPU refuses is refused: an operation
on tensors of two devices, numbers as NumPy arrays before a copy to the CPU, and double precision
where the device has none. Numbers that Python reads are counted: each waits for the device.
"""

import torch
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._pytree import tree_flatten, tree_map

__all__ = ["MixedDevices", "PretendAccelerator"]

# Reads of a number by Python.
_READS = {"item", "tolist", "__bool__", "__float__", "__int__", "__index__"}
# May take an index or a number from the CPU.
_INDEXING = {"__getitem__", "__setitem__", "index_put_"}


class MixedDevices(Exception):
    """Tensors of two devices met."""


class Elsewhere(torch.Tensor):
    """A tensor of the device; only :class:`PretendAccelerator` makes them."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        raise AssertionError("A tensor of the device was used outside of PretendAccelerator.")


class PretendAccelerator(TorchFunctionMode):
    """While it is entered there is the device `name`; `reads` counts numbers that Python read."""

    def __init__(self, name, has_float64):
        super().__init__()
        self.device = torch.device(name)
        self.has_float64 = has_float64
        self.reads = 0
        self.n_operations = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if func is torch.device:
            return func(*args, **kwargs)
        if name == "__get__":
            return self._attribute(func, args)
        tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, torch.Tensor)]
        here = [t for t in tensors if isinstance(t, Elsewhere)]
        wanted = self._wanted(name, args, kwargs)
        self.n_operations += bool(here)
        if here and name in _READS:
            self.reads += 1
        if here and name in ("numpy", "__array__"):
            raise TypeError(f"can't convert {self.device} device type tensor to numpy")
        moves = name in ("to", "cpu", "copy_", "type")
        strangers = [t for t in tensors if not isinstance(t, Elsewhere) and t.dim() > 0]
        if here and strangers and not moves and name not in _INDEXING:
            raise MixedDevices(
                f"{resolve_name(func) or name} got tensors of {self.device} and cpu."
            )
        elsewhere = bool(here) if wanted is None else wanted
        if name == "cpu":
            elsewhere = False
        if name == "to" and wanted is None and len(args) > 1 and isinstance(args[1], torch.Tensor):
            elsewhere = isinstance(args[1], Elsewhere)
        if name == "to":
            args = tuple(a for a in args if not isinstance(a, str | torch.device))
        if name == "to" and len(args) == 1 and not kwargs:
            return self._made(self._plain(args[0]), name) if elsewhere else self._plain(args[0])
        plain = tree_map(self._plain, (args, kwargs))
        result = func(*plain[0], **plain[1])
        if here and name.endswith("_") and not name.endswith("__") and args[0] is here[0]:
            return args[0]
        out = kwargs.get("out")
        if out is not None:
            return out
        return tree_map(lambda t: self._made(t, name), result) if elsewhere else result

    def _attribute(self, func, args):
        (tensor, *_) = args
        owner = getattr(func, "__self__", None)
        name = getattr(owner, "__name__", "")
        if isinstance(tensor, Elsewhere):
            if name == "device":
                return self.device
            plain = func(self._plain(tensor), *args[1:])
            return self._made(plain, name) if isinstance(plain, torch.Tensor) else plain
        return func(*args)

    def _wanted(self, name, args, kwargs):
        """Whether a device that is named is this one; None where none is."""
        named = kwargs.pop("device", None)
        if named is None and name == "to":
            named = next((a for a in args[1:] if isinstance(a, str | torch.device)), None)
        if named is None:
            return None
        return torch.device(named).type == self.device.type

    def _plain(self, value):
        if isinstance(value, Elsewhere):
            with torch._C.DisableTorchFunctionSubclass():
                return value.as_subclass(torch.Tensor)
        return value

    def _made(self, value, name):
        if not isinstance(value, torch.Tensor):
            return value
        if value.dtype is torch.float64 and not self.has_float64:
            raise TypeError(f"{name}: {self.device} has no float64.")
        with torch._C.DisableTorchFunctionSubclass():
            return value.as_subclass(Elsewhere)
