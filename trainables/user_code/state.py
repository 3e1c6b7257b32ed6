"""What a training function keeps, as named tensors and plain JSON: nested mappings and lists of tensors and numbers.

Arrays and tensors become tensors of a snapshot, by their path; everything else is JSON. Mappings may have whole numbers
as keys, as optimisers' ``state_dict`` have. Nothing else can be kept, since nothing that is read back may run code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

KIND = "$"
"""Key of a mapping in the JSON that stands for something JSON has no word for."""
_PLAIN = (str, bool, int, float, type(None))


def taken_apart(value: Any, tensors: dict[str, torch.Tensor], path: str) -> Any:
    """The JSON of a value; its tensors are copied into ``tensors`` under names that begin with ``path``.

    Raises:
        TypeError: something in it can neither be a tensor nor JSON; with its path.
    """
    if isinstance(value, torch.Tensor):
        tensors[path] = value.detach().to("cpu", copy=True).contiguous()
        return {KIND: "tensor", "at": path}
    if isinstance(value, np.ndarray) and value.dtype != object:
        tensors[path] = torch.from_numpy(np.array(value, order="C"))
        return {KIND: "array", "at": path}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Mapping):
        pairs = [[_key(key, path), taken_apart(one, tensors, f"{path}/{key}")] for key, one in value.items()]
        return {KIND: "mapping", "of": pairs}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {KIND: kind, "of": [taken_apart(one, tensors, f"{path}/{i}") for i, one in enumerate(value)]}
    raise TypeError(
        f"`{path.partition('/')[2] or path}` is a {type(value).__name__}; keep tensors, arrays, numbers, text, and "
        "mappings, lists or tuples of them (of a model its `state_dict()`)"
    )


def _key(key: Any, path: str) -> str | int:
    if isinstance(key, str | int) and not isinstance(key, bool):
        return key
    raise TypeError(f"`{path}` has a key that is neither text nor a whole number: {key!r}")


def put_together(said: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    """The value that :func:`taken_apart` was given; its tensors are copies of their own."""
    if not isinstance(said, Mapping):
        return said
    kind = said.get(KIND)
    if kind == "tensor":
        return tensors[said["at"]].clone()
    if kind == "array":
        return tensors[said["at"]].clone().numpy()
    if kind == "mapping":
        return {key: put_together(one, tensors) for key, one in said["of"]}
    parts = [put_together(one, tensors) for one in said["of"]]
    return tuple(parts) if kind == "tuple" else parts


def number(value: Any) -> float:
    """A reported value as a float: of a number, an array or a tensor with one element.

    Raises:
        TypeError: it is none of these.
    """
    size = value.numel() if isinstance(value, torch.Tensor) else getattr(value, "size", 1)
    if size != 1:
        raise TypeError("has more than one element; report its mean")
    try:
        return float(value.detach() if isinstance(value, torch.Tensor) else value)
    except (TypeError, ValueError):
        raise TypeError(f"is a {type(value).__name__}, not a number") from None


def copied(value: Any) -> Any:
    """The same value with tensors and arrays of its own."""
    tensors: dict[str, torch.Tensor] = {}
    said = taken_apart(value, tensors, "state")
    return put_together(said, tensors)
