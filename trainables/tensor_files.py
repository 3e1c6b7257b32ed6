"""Named tensors as a safetensors file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file


def save_tensors(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Store tensors by value.

    Raises:
        OSError: the file could not be written.
    """
    try:
        save_file(_storable(tensors), path)
    except SafetensorError as error:
        # The library reports what the system says in words only: "... (os error 28)".
        if found := re.search(r"(.*)\(os error (\d+)\)", str(error)):
            said = found[1].rpartition(":")[2].strip()
            raise OSError(int(found[2]), said, str(path)) from error
        raise


def _storable(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Each tensor on the CPU, contiguous, alone in its storage: what safetensors accepts."""
    storable, storages = {}, set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        storage = tensor.untyped_storage()
        if storage.data_ptr() in storages or storage.nbytes() != tensor.nbytes:
            tensor = tensor.clone()
        storages.add(tensor.untyped_storage().data_ptr())
        storable[name] = tensor
    return storable
