"""Several processes train one net (torchrun): each takes its rows of the batch, gradients are averaged, all stay equal.

torch's DistributedDataParallel is not used: it wants one forward pass for each backward pass and no second gradients,
which a gradient penalty and several critic updates break.  Here gradients are averaged after the backward passes; with
one process nothing happens.  Rows are global: a pair is the same whatever the number of processes.  A net with batch
norm takes its statistics over its own rows (as it does over the pieces of train.accumulate).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from harness.errors import ConfigError

BUCKET = 1 << 22  # numbers sent at a time


@dataclass(frozen=True, kw_only=True)
class Processes:
    """rank: from 0, which alone writes files.  count: of all processes."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def rows(self, batch: Tensor) -> Tensor:
        """[batch, ...] -> this process's rows, [batch / count, ...]."""
        return batch.chunk(self.count)[self.rank]

    def check_batch(self, batch: int, accumulate: int) -> None:
        """Raises ConfigError if the batch can't be dealt out evenly, so that every row weighs the same."""
        if batch % (self.count * accumulate):
            problem = f"{batch} pairs cannot be dealt to {self.count} processes in {accumulate} pieces each"
            raise ConfigError("pairs.batch", problem, mend=f"take a multiple of {self.count * accumulate}")

    @torch.no_grad()
    def mean_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Average gradients over the processes; a parameter that took no part anywhere keeps none."""
        if self.count == 1:
            return
        bucket: list[Tensor] = []
        for parameter in parameters:
            if parameter.grad is None:
                continue
            bucket.append(parameter.grad)
            if sum(map(torch.numel, bucket)) >= BUCKET:
                self._mean(bucket)
                bucket = []
        self._mean(bucket)

    def _mean(self, tensors: list[Tensor]) -> None:
        if not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        flat /= self.count
        pieces = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, piece in zip(tensors, pieces, strict=True):
            tensor.copy_(piece.view_as(tensor))

    @torch.no_grad()
    def mean(self, values: Tensor) -> Tensor:
        """The average of a tensor over the processes."""
        if self.count > 1:
            values = values.clone()
            dist.all_reduce(values)
            values /= self.count
        return values

    @torch.no_grad()
    def share_buffers(self, module: nn.Module) -> None:
        """Everyone takes the first process's buffers (running statistics, which differ by rows)."""
        if self.count > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, 0)

    def from_first(self, value: Any) -> Any:
        """The first process's value (plain data) for all."""
        if self.count == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held, 0)
        return held[0]

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, by rank."""
        if self.count == 1:
            return [value]
        held: list[Any] = [None] * self.count
        dist.all_gather_object(held, value)
        return held


def join_processes(device: str) -> tuple[Processes, str]:
    """Meet the other processes if torchrun started this one; returns them and this process's device."""
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes(), device
    if device.startswith("cuda"):
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    return Processes(rank=dist.get_rank(), count=dist.get_world_size()), device


def leave_processes() -> None:
    """Say goodbye in good order, after `join_processes`."""
    if dist.is_initialized():
        dist.destroy_process_group()
