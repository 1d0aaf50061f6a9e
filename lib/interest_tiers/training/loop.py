"""The loop of a training process: steps, epochs, checkpoints, early stopping. TorchDistributor starts as many as configured.

Runs on the processes of the training; it knows nothing of Spark, nor of what is trained: a task says that.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from interest_tiers.config import Training

WEIGHTS, OPTIMIZER, STATE = "weights.safetensors", "optimizer.pt", "state.json"

#: Seconds from one look whether the launcher is still there to the next.
LAUNCHER_SECONDS = 0.5

#: The largest length of a step's gradient; a longer one is scaled down to it.
MAX_GRADIENT_NORM = 1.0


class Objective(Protocol):
    """What is trained, and its losses, in one process.

    model: what is saved. network: what is called, the model and what makes losses of its output. has_dropout: whether
    the dropout of the network is on. has_unused_parameters: whether some parameters get no gradient. training_loss:
    what this process differentiates, and the loss of the whole batch; the gradients of the first, averaged over the
    processes, are those of the second. validation_loss: the sum of the losses of some rows alone, and of how many
    terms, or of which weight. save: writes the result.
    """

    model: Any
    network: Any
    has_dropout: bool
    has_unused_parameters: bool

    def training_loss(self, network: Any, rows: Any) -> tuple[Any, float]: ...

    def validation_loss(self, network: Any, rows: Any) -> tuple[float, float]: ...

    def save(self, path: Path) -> None: ...


class Rows(Protocol):
    """The rows that one process trains on at each step: a function of the seed, the step, and the number of processes."""

    def rows(self, step: int) -> Any: ...


class Task(Protocol):
    """What is trained on what. It travels to the processes, which ask it for their parts. Paths must mean the same on every machine."""

    def objective(self, device: str) -> Objective: ...

    def training_rows(self, rank: int, processes: int, epoch_steps: int) -> Rows: ...

    def validation_rows(self, rank: int, processes: int) -> Iterable[Any]: ...


TaskKind = TypeVar("TaskKind", bound=Task, covariant=True)


@dataclass(frozen=True)
class TrainingPlan(Generic[TaskKind]):
    """What every process of a training is given. Paths must mean the same on every machine.

    n_rows: of the training, as written. checkpoints: a folder that holds what a training that was broken off had
    reached; result: where the best weights go. device: cpu or cuda. threads: of one process.
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
        """Where a process that fails says why: the error that reaches the driver may not."""
        return Path(self.checkpoints).with_name("failures")

    @property
    def epoch_steps(self) -> int:
        """Steps of an epoch, the same for every process and agreed before the first."""
        once = -(-self.n_rows // self.settings.batch_size)
        return min(self.settings.max_epoch_steps, max(self.settings.min_epoch_steps, once))

    @property
    def prior_decay(self) -> float:
        """Of all weights, beside weight_decay: that they are near 0, held before any example, counts the less, the more examples there are.

        At most so much that a step leaves nothing of a weight: more would turn it around.
        Source: Bishop, Pattern Recognition and Machine Learning, 2006, section 5.5, of Gaussian priors.
        """
        return min(self.settings.prior_examples / self.n_rows, 1 / self.settings.learning_rate)


@dataclass(frozen=True)
class Epoch:
    """loss: mean over the steps. validation_loss: None where there is nothing to validate with."""

    epoch: int
    step: int
    loss: float
    validation_loss: float | None


@dataclass
class Progress:
    """How far a training has come: all that resuming it needs beside weights and optimizer."""

    step: int = 0
    loss_sum: float = 0.0
    epochs: list[Epoch] = field(default_factory=list)

    @property
    def best(self) -> Epoch | None:
        """The epoch with the smallest validation loss, the earliest of equals; the last where nothing validates."""
        judged = [epoch for epoch in self.epochs if epoch.validation_loss is not None]
        if not judged:
            return self.epochs[-1] if self.epochs else None
        return min(judged, key=lambda epoch: (epoch.validation_loss, epoch.epoch))

    def is_over(self, settings: Training) -> bool:
        """Whether all epochs are done, or the last ones brought nothing."""
        best, done = self.best, len(self.epochs)
        return done >= settings.epochs or (best is not None and done - best.epoch >= settings.patience)


@dataclass(frozen=True)
class Trained:
    """epochs: every one. losses: of every step of this command. resumed_at: the step at which it went on, 0 for a new one."""

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
    """End this process soon after the one that launched it, which may be killed without a word to it.

    A training that is started again would else share its checkpoints with what is left of the one before.
    """
    launcher = os.getppid()

    def watch() -> None:
        while os.getppid() == launcher:
            time.sleep(LAUNCHER_SECONDS)
        # The process may be waiting for a neighbour: nothing but this ends it.
        os._exit(1)

    threading.Thread(target=watch, name="launcher watch", daemon=True).start()


def _note_failure(plan: TrainingPlan[Task], rank: int, error: Exception) -> None:
    plan.failures.mkdir(parents=True, exist_ok=True)
    told = f"process {rank} of {plan.settings.num_processes} failed with {type(error).__name__}: {error}\n{traceback.format_exc()}"
    (plan.failures / f"{rank}.txt").write_text(told, encoding="utf-8")


def learning_rate(step: int, settings: Training, n_steps: int) -> float:
    """Of a step, 0 for the first: rising in a line over the warmup, then falling in a line to 0 after the last."""
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
        """The steps up to the end of the epoch under way, then validation and a checkpoint; returns their losses."""
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
        self._tell(epoch, rows_per_second)
        return losses

    def _step(self, step: int) -> float:
        import torch

        settings = self._settings
        # Dropout, where it is on, is a function of the step, so that a resumed training drops what the other would have.
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
        """Over the validation rows of all processes; each batch by itself, so that it does not depend on their number."""
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
        """What resuming needs, whole or not at all; the checkpoint before it goes when it is there."""
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

    def _tell(self, epoch: Epoch, rows_per_second: float) -> None:
        if self._rank == 0:
            validation = "none" if epoch.validation_loss is None else f"{epoch.validation_loss:.4f}"
            print(
                f"epoch {epoch.epoch}/{self._settings.epochs}  step {epoch.step}  loss {epoch.loss:.4f}  "
                f"validation loss {validation}  {rows_per_second:,.0f} rows/s",
                flush=True,
            )


def _parameter_groups(model: Any, weight_decay: float, prior_decay: float) -> list[dict[str, Any]]:
    """Matrices decay by both; biases and scales, which are vectors, by the prior alone.

    Without the scales a prior would hold nothing back: a matrix before a normalisation does the same at any length (van Laarhoven, L2
    Regularization versus Batch and Weight Normalization, 2017).
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay + prior_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": prior_decay},
    ]


@contextmanager
def _moved_into(path: Path) -> Iterator[Path]:
    """A path to write to that becomes this one when all is written."""
    new = path.with_name(f"{path.name}.new")
    if new.is_dir():
        shutil.rmtree(new)
    yield new
    if path.is_dir():
        shutil.rmtree(path)
    new.replace(path)
