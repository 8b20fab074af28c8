"""Several processes that train one model: how they come together under torchrun, and how they end together."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
from torch import distributed as dist

from weightwright.errors import TuneError
from weightwright.tune.ranks import ProcessGroup, Rank, SingleProcess
from weightwright.tune.settings import TuneSettings

START = "torchrun --nproc-per-node 2 -m weightwright tune … --fsdp"
_LISTEN_S = 2.0  # how long a later process waits for another to say first why the run ends
_LOST = ("gloo", "Connection closed by peer", "Connection reset by peer", "NCCL")


def is_first() -> bool:
    """Whether this process speaks for the run: it is alone, or the first one."""
    rank = Rank.from_environment()
    return rank is None or rank.index == 0


@contextmanager
def joined(settings: TuneSettings) -> Iterator[SingleProcess]:
    """One of the processes that torchrun started, for as long as the block runs; alone without torchrun.

    Where a process fails, all end, and one of them says why: the others leave by SystemExit with the same status.
    Raises TuneError for settings and starts that do not go together.
    """
    rank = Rank.from_environment()
    if rank is None or (rank.world_size == 1 and not settings.fsdp):
        if settings.fsdp:
            raise TuneError(
                f"fsdp=true needs several GPUs under torchrun, which started no process here; run: {START}; "
                "or leave --fsdp out to train in one process"
            )
        yield SingleProcess()
        return
    store = _own_store(rank)
    with _one_voice(store, rank):
        _refuse(settings, rank)
        if rank.index:
            logging.getLogger("weightwright").setLevel(logging.ERROR)
        yield _start(rank, settings, store)
        dist.destroy_process_group()


def _own_store(rank: Rank) -> Any:
    """What the processes of this very run share: not of those before it, nor of an attempt that failed."""
    store, _, _ = next(dist.rendezvous("env://"))
    store = dist.PrefixStore(f"weightwright-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    return dist.PrefixStore(str(store.add(f"runs-{rank.index}", 1)), store)


def _refuse(settings: TuneSettings, rank: Rank) -> None:
    if not settings.fsdp:
        raise TuneError(
            f"torchrun started {rank.world_size} processes, and each would train the whole run by itself; add "
            "--fsdp, or start one process without torchrun"
        )
    if settings.method == "qlora":
        raise TuneError(
            "fsdp=true cannot divide a base that is held in 4 bits; use --method lora, or train qlora on one GPU "
            "without torchrun"
        )
    if settings.optimizer == "adamw8bit":
        raise TuneError("fsdp=true cannot divide the state of adamw8bit; use --optimizer adamw, or sgd")


def _start(rank: Rank, settings: TuneSettings, store: Any) -> ProcessGroup:
    from torch.distributed.device_mesh import init_device_mesh

    from weightwright.machine.device import pick_device

    kind = pick_device(settings.device)
    if kind not in ("cpu", "cuda"):
        raise TuneError(f"fsdp=true works on cuda and cpu, this run is on {kind}; use --device cpu")
    if kind == "cuda":
        if rank.local_world_size > torch.cuda.device_count():
            raise TuneError(
                f"torchrun started {rank.local_world_size} processes here for {torch.cuda.device_count()} GPUs; "
                f"use --nproc-per-node {torch.cuda.device_count()}"
            )
        torch.cuda.set_device(rank.local_index)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo",
        store=store,
        rank=rank.index,
        world_size=rank.world_size,
    )
    device = torch.device(kind, rank.local_index) if kind == "cuda" else torch.device(kind)
    return ProcessGroup(rank, device, init_device_mesh(kind, (rank.world_size,)))


@contextmanager
def _one_voice(store: Any, rank: Rank) -> Iterator[None]:
    """Let one process say why a run ends: whoever fails first, and of several the first one."""
    try:
        yield
    except BaseException as error:
        status = 130 if isinstance(error, KeyboardInterrupt) else 1
        if not _speaks(store, rank):
            raise SystemExit(status) from None
        if _is_lost(error):
            raise TuneError(
                "another process of this run ended without a word (killed, out of memory, or its host is gone); "
                "the same command goes on from the last checkpoint"
            ) from error
        raise


def _is_lost(error: BaseException | None) -> bool:
    """Whether a process is gone: or why torchrun ends the others, which comes as an interruption after it."""
    while error is not None:
        if isinstance(error, RuntimeError) and any(word in str(error) for word in _LOST):
            return True
        error = error.__context__
    return False


def _speaks(store: Any, rank: Rank) -> bool:
    try:
        if rank.index:
            with suppress(dist.DistError):  # nobody has spoken
                store.wait(["end"], timedelta(seconds=_LISTEN_S))
        return bool(store.add("end", 1) == 1)
    except (dist.DistError, RuntimeError):
        return False  # whoever keeps the store is gone, and has said why
