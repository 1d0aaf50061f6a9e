"""Runs the loop of a training process: steps, epochs, checkpoints, early stopping.

TorchDistributor starts as many processes as configured. The loop does not use Spark; a task defines the model and the rows.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from interest_tiers.config import Training

LOG = logging.getLogger("interest_tiers.training")

WEIGHTS, OPTIMIZER, STATE = "weights.safetensors", "optimizer.pt", "state.json"

#: Seconds between checks that the launcher is alive.
LAUNCHER_SECONDS = 0.5

#: Largest norm of a step's gradient; a longer one is scaled down to it.
MAX_GRADIENT_NORM = 1.0


class Objective(Protocol):
    """A model and its losses in one process.

    model: what is saved. network: what is called; it may wrap the model. has_dropout: whether dropout is on in training.
    has_unused_parameters: whether some parameters get no gradient.

    training_loss returns the loss that this process differentiates, and that of the whole batch. The gradients of the first,
    averaged over the processes, are those of the second. validation_loss returns the summed loss of some rows and its weight.
    """

    model: Any
    network: Any
    has_dropout: bool
    has_unused_parameters: bool

    def training_loss(self, network: Any, rows: Any) -> tuple[Any, float]: ...

    def validation_loss(self, network: Any, rows: Any) -> tuple[float, float]: ...

    def save(self, path: Path) -> None: ...


class Rows(Protocol):
    """The training rows of one process: a function of the seed, the step and the number of processes."""

    def rows(self, step: int) -> Any: ...


class Task(Protocol):
    """A model and its rows. It is pickled to every process, so its paths must mean the same on every machine."""

    def objective(self, device: str) -> Objective: ...

    def training_rows(self, rank: int, processes: int, epoch_steps: int) -> Rows: ...

    def validation_rows(self, rank: int, processes: int) -> Iterable[Any]: ...


TaskKind = TypeVar("TaskKind", bound=Task, covariant=True)


@dataclass(frozen=True)
class TrainingPlan(Generic[TaskKind]):
    """The input of every process of a training. Paths must mean the same on every machine.

    n_rows: number of training rows. checkpoints: folder from which an interrupted training resumes.
    result: folder of the best weights. device: cpu or cuda. threads: of one process.
    """

    settings: Training
    task: TaskKind
    n_rows: int
    checkpoints: str
    result: str
    device: str = "cpu"
    threads: int = 1

    @property
    def failures(self) -> Path:
        """Folder in which a process that fails writes its error; the one that reaches the driver may lack the cause."""
        return Path(self.checkpoints).with_name("failures")

    @property
    def epoch_steps(self) -> int:
        """Steps of an epoch, the same for every process."""
        once = -(-self.n_rows // self.settings.batch_size)
        return min(self.settings.max_epoch_steps, max(self.settings.min_epoch_steps, once))

    @property
    def prior_decay(self) -> float:
        """Extra weight decay that acts as a zero-mean Gaussian prior; its strength falls as 1 / n_rows.

        It is at most 1 / learning_rate: then a step sets a weight to 0, and more would flip its sign.
        Source: Bishop, Pattern Recognition and Machine Learning, 2006, section 5.5.
        """
        return min(self.settings.prior_examples / self.n_rows, 1 / self.settings.learning_rate)


@dataclass(frozen=True)
class Epoch:
    """The losses of an epoch. loss: mean over the steps. validation_loss: None without validation rows."""

    epoch: int
    step: int
    loss: float
    validation_loss: float | None


@dataclass
class Progress:
    """The progress of a training: the state that resuming needs besides weights and optimizer."""

    step: int = 0
    loss_sum: float = 0.0
    epochs: list[Epoch] = field(default_factory=list)

    @property
    def best(self) -> Epoch | None:
        """The epoch with the smallest validation loss, the earliest of equals; the last epoch without validation rows."""
        validated = [epoch for epoch in self.epochs if epoch.validation_loss is not None]
        if not validated:
            return self.epochs[-1] if self.epochs else None
        return min(validated, key=lambda epoch: (epoch.validation_loss, epoch.epoch))

    def is_over(self, settings: Training) -> bool:
        """Say whether all epochs are done, or the last ones had no lower validation loss."""
        best, done = self.best, len(self.epochs)
        return done >= settings.epochs or (best is not None and done - best.epoch >= settings.patience)


@dataclass(frozen=True)
class Trained:
    """The outcome of a training. losses: of every step of this command. resumed_at: step of the checkpoint, 0 for none."""

    epochs: list[Epoch]
    best: Epoch
    losses: list[float]
    resumed_at: int


def train(plan: TrainingPlan[Task]) -> Trained:
    """Train with the other processes, from the last checkpoint where there is one; the best weights go to plan.result."""
    import torch
    import torch.distributed as dist

    if "TORCHELASTIC_RUN_ID" in os.environ:
        _end_with_launcher()
        _log_to_stdout()
    torch.set_num_threads(plan.threads)
    rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if plan.device == "cuda" else "cpu"
    try:
        if plan.device == "cuda":
            torch.cuda.set_device(device)
        if size > 1:
            dist.init_process_group("nccl" if plan.device == "cuda" else "gloo")
        return _Training(plan, device, rank, size).run()
    except Exception as error:
        _note_failure(plan, rank, error)
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _end_with_launcher() -> None:
    """End this process soon after the one that launched it, which may be killed without notice.

    Otherwise it would go on writing checkpoints that a new command resumes from.
    """
    launcher = os.getppid()

    def watch() -> None:
        while os.getppid() == launcher:
            time.sleep(LAUNCHER_SECONDS)
        # The process may be blocked in a collective operation: nothing but this ends it.
        os._exit(1)

    threading.Thread(target=watch, name="launcher watch", daemon=True).start()


def _log_to_stdout() -> None:
    """Print the log: a process of TorchDistributor reaches the driver's log only through its standard output."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    LOG.handlers[:], LOG.propagate = [handler], False
    LOG.setLevel(logging.INFO)


def _note_failure(plan: TrainingPlan[Task], rank: int, error: Exception) -> None:
    plan.failures.mkdir(parents=True, exist_ok=True)
    message = f"process {rank} of {plan.settings.num_processes} failed with {type(error).__name__}: {error}\n{traceback.format_exc()}"
    (plan.failures / f"{rank}.txt").write_text(message, encoding="utf-8")


def learning_rate(step: int, settings: Training, n_steps: int) -> float:
    """Compute the learning rate of a step, 0 for the first: it rises linearly in the warmup, then falls linearly to 0."""
    warm = int(settings.warmup * n_steps)
    if step < warm:
        return settings.learning_rate * (step + 1) / warm
    return settings.learning_rate * (n_steps - step) / max(1, n_steps - warm)


class _Training:
    """One process of a training."""

    def __init__(self, plan: TrainingPlan[Task], device: str, rank: int, size: int) -> None:
        import torch

        settings = plan.settings
        self._plan, self._settings, self._device, self._rank, self._size = plan, settings, device, rank, size
        torch.manual_seed(settings.seed)
        self._objective = plan.task.objective(device)
        self._objective.network.train(self._objective.has_dropout)
        self._rows = plan.task.training_rows(rank, size, plan.epoch_steps)
        self._validation = plan.task.validation_rows(rank, size)
        self._optimizer = torch.optim.AdamW(
            _parameter_groups(self._objective.model, settings.weight_decay, plan.prior_decay), lr=settings.learning_rate
        )
        self._progress = self._restored()
        self._network: Any = self._objective.network
        if size > 1:
            self._network = torch.nn.parallel.DistributedDataParallel(
                self._network,
                device_ids=None if device == "cpu" else [device],
                find_unused_parameters=self._objective.has_unused_parameters,
            )

    def run(self) -> Trained:
        progress, resumed_at, losses = self._progress, self._progress.step, []
        while not progress.is_over(self._settings):
            losses += self._epoch()
        best = progress.best
        assert best is not None  # there is one epoch at least
        if self._rank == 0:
            self._load_weights(self._best_weights(best.epoch))
            self._objective.save(Path(self._plan.result))
        return Trained(progress.epochs, best, losses, resumed_at)

    def _epoch(self) -> list[float]:
        """Run the rest of the epoch, validate and write a checkpoint; returns the losses of the steps."""
        progress, settings, start = self._progress, self._settings, time.monotonic()
        number = len(progress.epochs) + 1
        end = number * self._plan.epoch_steps
        losses: list[float] = []
        while progress.step < end:
            losses.append(self._step(progress.step))
            progress.step += 1
            progress.loss_sum += losses[-1]
            if progress.step % settings.checkpoint_steps == 0 and progress.step < end:
                self._checkpoint()
        rows_per_second = len(losses) * settings.batch_size / (time.monotonic() - start)
        epoch = Epoch(number, end, progress.loss_sum / self._plan.epoch_steps, self._validation_loss())
        progress.epochs.append(epoch)
        progress.loss_sum = 0.0
        self._checkpoint(is_best=progress.best == epoch)
        self._log(epoch, rows_per_second)
        return losses

    def _step(self, step: int) -> float:
        import torch

        settings = self._settings
        # Dropout is a function of the step, so that a resumed training uses the same masks.
        torch.manual_seed(settings.seed + (step + 1) * self._size + self._rank)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(step, settings, settings.epochs * self._plan.epoch_steps)
        self._optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            differentiated, loss = self._objective.training_loss(self._network, self._rows.rows(step))
        differentiated.backward()
        norm = torch.nn.utils.clip_grad_norm_(self._objective.model.parameters(), MAX_GRADIENT_NORM)
        if not torch.isfinite(norm):
            raise FloatingPointError("the gradient is not a number: lower learning_rate")
        self._optimizer.step()
        return loss

    def _autocast(self) -> Any:
        import torch

        kind = self._device.partition(":")[0]
        return torch.autocast(kind, dtype=torch.bfloat16, enabled=self._settings.precision == "bf16")

    def _validation_loss(self) -> float | None:
        """Average over the validation rows of all processes, batch by batch, so that it does not depend on their number."""
        import torch
        import torch.distributed as dist

        self._objective.network.eval()
        sums = torch.zeros(2, dtype=torch.float64, device=self._device)
        with torch.inference_mode(), self._autocast():
            for rows in self._validation:
                total, n = self._objective.validation_loss(self._objective.network, rows)
                sums += torch.tensor([total, n], dtype=torch.float64, device=self._device)
        self._objective.network.train(self._objective.has_dropout)
        if self._size > 1:
            dist.all_reduce(sums)
        return None if sums[1] == 0 else (sums[0] / sums[1]).item()

    def _checkpoint(self, is_best: bool = False) -> None:
        """Write a checkpoint atomically, then remove the one before it."""
        import torch
        import torch.distributed as dist

        if self._rank == 0:
            folder = Path(self._plan.checkpoints)
            folder.mkdir(parents=True, exist_ok=True)
            if is_best:
                with _moved_into(self._best_weights(len(self._progress.epochs))) as file:
                    self._save_weights(file)
            with _moved_into(folder / f"step-{self._progress.step:09d}") as new:
                new.mkdir()
                self._save_weights(new / WEIGHTS)
                torch.save(self._optimizer.state_dict(), new / OPTIMIZER)
                (new / STATE).write_text(json.dumps(asdict(self._progress)), encoding="utf-8")
            self._remove_older(folder)
        if self._size > 1:
            dist.barrier()

    def _remove_older(self, folder: Path) -> None:
        best = self._progress.best
        for old in folder.glob("step-*"):
            if old.name != f"step-{self._progress.step:09d}":
                shutil.rmtree(old)
        for old in folder.glob("best-*"):
            if best is None or old != self._best_weights(best.epoch):
                old.unlink()

    def _restored(self) -> Progress:
        import torch

        found = sorted(path for path in Path(self._plan.checkpoints).glob("step-*") if path.suffix == "")
        if not found:
            return Progress()
        self._load_weights(found[-1] / WEIGHTS)
        self._optimizer.load_state_dict(torch.load(found[-1] / OPTIMIZER, map_location=self._device, weights_only=True))
        state = json.loads((found[-1] / STATE).read_text(encoding="utf-8"))
        return Progress(state["step"], state["loss_sum"], [Epoch(**epoch) for epoch in state["epochs"]])

    def _best_weights(self, epoch: int) -> Path:
        return Path(self._plan.checkpoints) / f"best-{epoch:05d}.safetensors"

    def _save_weights(self, file: Path) -> None:
        from safetensors.torch import save_model

        save_model(self._objective.model, str(file))

    def _load_weights(self, file: Path) -> None:
        from safetensors.torch import load_model

        load_model(self._objective.model, str(file))

    def _log(self, epoch: Epoch, rows_per_second: float) -> None:
        if self._rank == 0:
            validation = "none" if epoch.validation_loss is None else f"{epoch.validation_loss:.4f}"
            LOG.info(
                "epoch %d/%d  step %d  loss %.4f  validation loss %s  %s rows/s",
                epoch.epoch, self._settings.epochs, epoch.step, epoch.loss, validation, f"{rows_per_second:,.0f}",
            )  # fmt: skip


def _parameter_groups(model: Any, weight_decay: float, prior_decay: float) -> list[dict[str, Any]]:
    """Group parameters: matrices decay by both terms, vectors (biases and scales) by the prior alone.

    A prior without the scales would have no effect: a matrix before a normalisation computes the same at any norm (van Laarhoven, L2
    Regularization versus Batch and Weight Normalization, 2017).
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay + prior_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": prior_decay},
    ]


@contextmanager
def _moved_into(path: Path) -> Iterator[Path]:
    """Yield a temporary path that is renamed to this one when the block ends."""
    new = path.with_name(f"{path.name}.new")
    if new.is_dir():
        shutil.rmtree(new)
    yield new
    if path.is_dir():
        shutil.rmtree(path)
    new.replace(path)
