"""finetune_encoder: fine-tune the language model on what users touched and wrote before as_of."""

from __future__ import annotations

from interest_tiers.encoder_training.job import EncoderInputs, EncoderTraining, require_trainable
from interest_tiers.encoder_training.quality import Measure
from interest_tiers.encoder_training.trained_folder import RECORD
from interest_tiers.slices import Slice
from interest_tiers.stages.context import StageContext
from interest_tiers.stages.models import lineage_of, models_folder
from interest_tiers.stages.results import Measurement, StageResult
from interest_tiers.storage.schemas import INTERACTIONS, ITEMS
from interest_tiers.training.experiment_log import require_mlflow
from interest_tiers.training.launcher import check_processes
from interest_tiers.training.loop import Trained
from interest_tiers.training.model_store import ModelStore


def preflight(context: StageContext) -> list[str]:
    """Check the model, the folder, the processes and MLflow."""
    settings = context.config.fine_tuning
    _encoders(context)
    require_mlflow(settings.mlflow_experiment, "fine_tuning.mlflow_experiment")
    check_processes(context.spark, settings.num_processes, "fine_tuning.num_processes")
    require_trainable(settings, context.config.embedding, context.known_as_of)
    return []


def run(context: StageContext) -> StageResult:
    """Fine-tune the configured model, unless it was trained on the same data; its folder has a record and a model card."""
    config = context.config
    touches = [behaviour for behaviour, weight in config.weights.items() if weight.weight > 0]
    inputs = EncoderInputs(context.read(INTERACTIONS), context.read(ITEMS), touches)
    require_trainable(config.fine_tuning, config.embedding, context.as_of)
    job = EncoderTraining(
        inputs, context.as_of, config.tiers.horizon_days, config.fine_tuning, config.embedding, _encoders(context),
        context.materialise, context.spark, lineage_of(context),
    )  # fmt: skip
    if job.is_trained:
        job.store.point(job.lineage.name, job.cutoff, job.fingerprint)
        return StageResult(0, 0, f"the model as of {job.cutoff} was trained on the same data before: {job.folder}")
    found = job.train(lambda trained, measures: context.write_metrics(_list_measurements(trained, measures)))
    quality = ", ".join(f"{m.metric} {m.slice.model} {m.value:.4g}" for m in found.measures if m.slice.model)
    epochs = f"epoch {found.trained.best.epoch} of {len(found.trained.epochs)}"
    return StageResult(
        found.rows, found.step, f"{config.fine_tuning.objective}, {epochs}; {quality or 'not judged'}; model {found.folder}"
    )  # fmt: skip


def _encoders(context: StageContext) -> ModelStore:
    """Return the fine-tuned models of this data set and objective."""
    settings = context.config.fine_tuning
    name = f"{context.config.name}-{settings.objective}"
    return ModelStore(models_folder(context, settings.folder, "fine_tuning.folder", name), RECORD, context.run_id)


def _list_measurements(trained: Trained, measures: list[Measure]) -> list[Measurement]:
    best = trained.best
    validation = [] if best.validation_loss is None else [Measurement("validation_loss", str(Slice("all")), best.validation_loss)]
    training = [Measurement("training_loss", str(Slice("all")), best.loss), *validation]
    return [*training, *(Measurement(m.metric, str(m.slice), m.value) for m in measures)]
