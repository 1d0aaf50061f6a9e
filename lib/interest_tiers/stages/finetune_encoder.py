"""finetune_encoder: train the language model on what users touched and wrote before as_of."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers import __version__
from interest_tiers.config import Embedding, FineTuning
from interest_tiers.embedding.model_folder import model_id, read_model_folder
from interest_tiers.embedding.texts import embed_texts
from interest_tiers.encoder_training import examples as fine_tuning
from interest_tiers.encoder_training import language_quality, retrieval_quality, trained_folder
from interest_tiers.encoder_training.task import LanguageTraining
from interest_tiers.encoder_training.training_rows import shards_in
from interest_tiers.errors import ConfigError
from interest_tiers.spark.sampling import sample_by_hash
from interest_tiers.stages.context import Measurement, StageContext, StageResult, models_folder, stage_main, write_metrics
from interest_tiers.storage.schemas import INTERACTIONS, ITEMS
from interest_tiers.training.experiment_log import log_training, require_mlflow
from interest_tiers.training.launcher import require_room, run_training
from interest_tiers.training.loop import Trained, TrainingPlan
from interest_tiers.training.record import MODEL_CARD, put_in_place

Plan = TrainingPlan[LanguageTraining]

#: The tokens of a model from scratch are learnt from about so many texts, drawn by hash.
VOCABULARY_TEXTS = 100_000


def run(context: StageContext) -> StageResult:
    """Train the model of the config's section fine_tuning; what it was made of and how good it is stands in its folder."""
    job = _Job(context)
    job.require_possible()
    job.workplace.mkdir(parents=True, exist_ok=True)
    _remove_others(job.workplace, job.folder.name)
    try:
        plan, examples = job.plan()
        trained = run_training(context.spark, plan)
        result = Path(plan.result)
        trained_folder.complete(result, plan.task.start)
        measurements = job.measured(plan)
        record = job.record(plan, examples, trained, measurements)
        trained_folder.write_record(result, record)
    finally:
        for rows in ("training", "validation"):  # they hold what users wrote
            shutil.rmtree(job.workplace / rows, ignore_errors=True)
    # Last, so that a command killed before it finds its checkpoints again.
    write_metrics(context, "finetune_encoder", [*_of_training(trained), *measurements])
    log_training(job.settings.mlflow_experiment, job.folder, record, result / MODEL_CARD)
    put_in_place(result, job.folder)
    shutil.rmtree(job.workplace.parent)
    return StageResult(examples["training"] + examples["validation"], trained.best.step, _message(job, trained, measurements))


@dataclass(frozen=True)
class _Examples:
    """Rows to train on and to validate with, and how many."""

    training: DataFrame
    validation: DataFrame
    n_training: int
    n_validation: int


@dataclass
class _Job:
    """One training: its days, its folders, its frames."""

    context: StageContext

    @property
    def settings(self) -> FineTuning:
        return self.context.config.fine_tuning

    @property
    def embedding(self) -> Embedding:
        return self.context.config.embedding

    @cached_property
    def cut(self) -> date:
        return self.context.as_of

    @cached_property
    def validated_from(self) -> date:
        """Days from here on to the cut choose the epoch, and train nothing."""
        return self.cut - timedelta(days=self.settings.validation_days)

    @cached_property
    def judged_to(self) -> date:
        return self.cut + timedelta(days=self.context.config.tiers.horizon_days)

    @cached_property
    def before(self) -> DataFrame:
        return self.context.read(INTERACTIONS, self.cut)

    @cached_property
    def after(self) -> DataFrame:
        """What happened from the cut on; it judges what is trained and has no part in it."""
        every = self.context.read(INTERACTIONS)
        return every.where((F.col("event_date") >= F.lit(self.cut)) & (F.col("event_date") < F.lit(self.judged_to)))

    @cached_property
    def items(self) -> DataFrame:
        return self.context.read(ITEMS)

    @cached_property
    def touches(self) -> list[str]:
        return [behaviour for behaviour, weight in self.context.config.weights.items() if weight.weight > 0]

    @cached_property
    def folder(self) -> Path:
        """Where the model goes. Raises ConfigError where that is no folder of the machines' file systems."""
        name = f"{self.context.config.name}-{self.settings.objective}"
        return models_folder(self.context, self.settings.folder, "fine_tuning.folder", name)

    @cached_property
    def workplace(self) -> Path:
        """Where a training under way keeps its rows and checkpoints. Another config, model, table or day has another one."""
        settings = self.settings.model_dump(mode="json", exclude={"num_processes", "folder", "mlflow_experiment"})
        versions = {table.name: self.context.warehouse.version(table) for table in (INTERACTIONS, ITEMS)}
        base = "scratch" if self.settings.base == "scratch" else model_id(self._of(self.embedding.model))
        made_of = [settings, versions, base, self.embedding.max_tokens, self.touches, self.cut.isoformat(), __version__]
        fingerprint = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]
        return self.folder.with_name(f"{self.folder.name}.training") / fingerprint

    def require_possible(self) -> None:
        """Raise ConfigError or WarehouseError for what cannot be trained, before anything is computed for it."""
        self.context.read(INTERACTIONS)
        self.context.read(ITEMS)
        require_mlflow(self.settings.mlflow_experiment, "fine_tuning.mlflow_experiment")
        require_room(self.context.spark, self.settings.num_processes, "fine_tuning.num_processes")
        trained_folder.require_replaceable(self.folder)
        if self.settings.base == "scratch":
            return
        base = read_model_folder(self.embedding.model)
        if self.settings.objective == "next_token" and base.family != "GPT":
            raise ConfigError(
                f"fine_tuning.objective is 'next_token', and embedding.model ({self.embedding.model}) is of the {base.family} family, "
                "which foretells no next token: name a model of the GPT family, or set fine_tuning.base to scratch"
            )
        if self.settings.objective == "next_token":
            fine_tuning.require_end_of_text(self.embedding.model)

    def plan(self) -> tuple[Plan, dict[str, int]]:
        """Write the rows of the training, and say what every process is to do; also how many examples and rows there are."""
        contrastive = self.settings.objective == "contrastive"
        examples = self._pairs() if contrastive else self._texts()
        if not examples.n_training:
            what = "two item texts of one basket" if contrastive else "texts"
            raise ConfigError(f"there are no {what} before {self.validated_from} to train on: give a later --as-of, or other data")
        start = self._start(examples.training)
        for name, rows in self._rows(examples, start).items():
            self.context.warehouse.write_parquet(self._rows_uri(name), rows, partition_by="shard")
        n_rows = sum(shard.n_rows for shard in shards_in(self.workplace / "training"))
        if contrastive and n_rows != examples.n_training:
            raise ConfigError(
                f"{self.workplace} has {n_rows:,} of {examples.n_training:,} pairs: give a fine_tuning.folder that every machine sees"
            )
        place = self.workplace
        plan = TrainingPlan(
            settings=self.settings,
            task=LanguageTraining(self.settings, start, str(place / "training"), str(place / "validation")),
            n_rows=n_rows,
            checkpoints=str(place / "checkpoints"),
            result=str(place / self.folder.name),
        )
        return plan, {"training": examples.n_training, "validation": examples.n_validation, "training_rows": n_rows}

    def _rows(self, examples: _Examples, start: str) -> dict[str, DataFrame]:
        """The examples as numbers, in as many shards as go into a batch."""
        n_shards = fine_tuning.shard_count(examples.n_training, self.settings.batch_size)
        windows = (("training", examples.training, n_shards), ("validation", examples.validation, 1))
        if self.settings.objective == "contrastive":
            seen = self.context.warehouse.stage("finetune_encoder/frequencies", fine_tuning.text_frequencies(examples.training))
            tokens = self.embedding.max_tokens
            return {name: fine_tuning.tokenised_pairs(pairs, seen, self.items, start, tokens, shards) for name, pairs, shards in windows}
        return {name: self._blocks(texts, start, shards) for name, texts, shards in windows}

    def _rows_uri(self, name: str) -> str:
        return (self.workplace / name).as_uri()

    def _drawn(self, make: Callable[[DataFrame], DataFrame], name: str) -> _Examples:
        """Examples of both windows, each up to its bound."""
        found = []
        for window, day, bound in (
            ("training", F.col("event_date") < F.lit(self.validated_from), self.settings.max_examples),
            ("validation", F.col("event_date") >= F.lit(self.validated_from), self.settings.max_validation_examples),
        ):
            every = self.context.warehouse.stage(f"finetune_encoder/{window}_every", make(self.before.where(day)))
            drawn = self.context.warehouse.stage(f"finetune_encoder/{window}_{name}", fine_tuning.drawn(every, bound, every.count()))
            found.append((drawn, drawn.count()))
        (training, n_training), (validation, n_validation) = found
        return _Examples(training, validation, n_training, n_validation)

    def _pairs(self) -> _Examples:
        def pairs(interactions: DataFrame) -> DataFrame:
            touched = fine_tuning.baskets(interactions, self.items, self.touches, self.settings.window_hours)
            return fine_tuning.pairs(touched, self.settings)

        return self._drawn(pairs, "pairs")

    def _texts(self) -> _Examples:
        first = self.context.warehouse.stage("finetune_encoder/first_touched", fine_tuning.first_touched(self.before))

        def texts(interactions: DataFrame) -> DataFrame:
            # Of the items that these days saw first.
            days = interactions.agg(F.min("event_date").alias("first_day"), F.max("event_date").alias("last_day"))
            wanted = first.join(F.broadcast(days), F.col("first_date").between(F.col("first_day"), F.col("last_day")))
            return fine_tuning.written_texts(interactions, self.items, wanted.select("item_id"), self.settings)

        return self._drawn(texts, "texts")

    def _start(self, training: DataFrame) -> str:
        """The model that is trained: that of the config, or one of random weights, made of the texts that it will be trained on."""
        if self.settings.base == "model":
            return self.embedding.model
        texts = sample_by_hash(training, "draw", VOCABULARY_TEXTS, training.count()).orderBy("draw", "text")
        folder = self.workplace / "start"
        trained_folder.write_start(
            folder, (row["text"] for row in texts.select("text").toLocalIterator()), self.settings.network, self.settings.seed
        )
        return str(folder)

    def _blocks(self, texts: DataFrame, start: str, n_shards: int) -> DataFrame:
        return fine_tuning.token_blocks(texts, start, min(self.embedding.max_tokens, read_model_folder(start).max_tokens), n_shards)

    def measured(self, plan: Plan) -> list[Measurement]:
        """How good the trained model is on what happened from the cut on, beside the one that it started from."""
        if self.after.isEmpty():
            return []
        return self._retrieval(plan) if self.settings.objective == "contrastive" else self._language(plan)

    def _retrieval(self, plan: Plan) -> list[Measurement]:
        stage, settings = self.context.warehouse.stage, self.settings
        touched_before = stage(
            "finetune_encoder/touched_before", fine_tuning.baskets(self.before, self.items, self.touches, settings.window_hours)
        )
        known = touched_before.select("text_hash").distinct()
        texts = (
            self.items.where("text IS NOT NULL").groupBy("text_hash").agg(F.min("text").alias("text")).join(known, "text_hash", "left_semi")
        )
        every = stage("finetune_encoder/known_texts", texts)
        candidates = stage("finetune_encoder/candidates", sample_by_hash(every, "text_hash", settings.max_candidates, every.count()))
        touched = fine_tuning.baskets(self.after, self.items, self.touches, settings.window_hours)
        baskets = fine_tuning.capped(touched, settings.max_basket_texts, settings.seed)
        judged = stage("finetune_encoder/judged", retrieval_quality.judged_baskets(baskets, candidates))
        n_judged = judged.count()
        if n_judged == 0:
            return []
        keyed = judged.withColumn("key", F.xxhash64("basket", "text_hash"))
        queries = stage("finetune_encoder/queries", sample_by_hash(keyed, "key", settings.max_queries, n_judged))
        sought = stage("finetune_encoder/sought", retrieval_quality.sought(queries, judged))
        measurements = [
            Measurement("n_queries", "all", queries.count()),
            Measurement("n_basket_texts", "all", n_judged),
            Measurement("n_candidates", "all", candidates.count()),
        ]
        metric = f"recall@{retrieval_quality.NEAREST}"
        asked = queries.select("text_hash").distinct()
        popular = retrieval_quality.popular_texts(touched_before, candidates, asked)
        measurements.append(Measurement(metric, "model=most_frequent", retrieval_quality.recall(sought, popular)))
        for name, model in (("base", plan.task.start), ("fine_tuned", plan.result)):
            vectors = stage(f"finetune_encoder/vectors_{name}", self._embedded(candidates, model))
            nearest = retrieval_quality.nearest_texts(vectors, asked, self.context.spark.sparkContext.defaultParallelism)
            measurements.append(Measurement(metric, f"model={name}", retrieval_quality.recall(sought, nearest)))
        return measurements

    def _language(self, plan: Plan) -> list[Measurement]:
        stage, settings = self.context.warehouse.stage, self.settings
        first = stage("finetune_encoder/first_touched_to", fine_tuning.first_touched(self.before.unionByName(self.after)))
        new_items = first.where(F.col("first_date") >= F.lit(self.cut))
        every = stage("finetune_encoder/held_out_every", fine_tuning.written_texts(self.after, self.items, new_items, settings))
        n_every = every.count()
        if n_every == 0:
            return []
        held_out = fine_tuning.drawn(every, settings.max_queries, n_every)
        n_shards = fine_tuning.shard_count(min(n_every, settings.max_queries), fine_tuning.MAX_SHARDS)
        blocks = stage("finetune_encoder/held_out", self._blocks(held_out, plan.task.start, n_shards))
        held_out_counts = stage("finetune_encoder/held_out_counts", fine_tuning.token_counts(blocks))
        training = self.context.spark.read.parquet(self._rows_uri("training"))
        n_tokens = held_out_counts.agg(F.sum("n").alias("n")).first()
        assert n_tokens is not None  # an aggregate without keys has one row
        vocabulary = json.loads((Path(plan.result) / "config.json").read_text(encoding="utf-8"))["vocab_size"]
        return [
            Measurement("n_held_out_texts", "all", held_out.count()),
            Measurement("n_held_out_tokens", "all", n_tokens["n"]),
            Measurement("perplexity", "model=fine_tuned", language_quality.perplexity(blocks, plan.result)),
            Measurement("perplexity", "model=base", language_quality.perplexity(blocks, plan.task.start)),
            Measurement(
                "perplexity",
                "model=unigram",
                language_quality.unigram_perplexity(fine_tuning.token_counts(training), held_out_counts, vocabulary),
            ),
            *self._categories(plan, first),
        ]

    def _categories(self, plan: Plan, first: DataFrame) -> list[Measurement]:
        """Whether a classifier that knows items first touched before the cut names the categories of those first touched after it."""
        stage, bound = self.context.warehouse.stage, self.settings.max_queries
        known = self.items.where("text IS NOT NULL AND category IS NOT NULL").join(first, "item_id")
        windows = []
        for name, is_in in (("before", F.col("first_date") < F.lit(self.cut)), ("after", F.col("first_date") >= F.lit(self.cut))):
            rows = stage(f"finetune_encoder/categories_{name}", known.where(is_in).select("item_id", "text_hash", "text", "category"))
            windows.append(stage(f"finetune_encoder/classified_{name}", sample_by_hash(rows, "item_id", bound, rows.count())))
        before, after = windows
        rarest = before.groupBy("category").count().agg(F.min("count").alias("n"), F.count(F.lit(1)).alias("categories")).first()
        if rarest is None or rarest["categories"] < 2 or rarest["n"] < language_quality.FOLDS or after.isEmpty():
            return []
        texts = before.unionByName(after).groupBy("text_hash").agg(F.min("text").alias("text"))
        measurements = [Measurement("n_classified_items", "all", after.count())]
        for name, model in (("fine_tuned", plan.result), ("base", plan.task.start)):
            vectors = stage(f"finetune_encoder/classified_vectors_{name}", self._embedded(texts, model))
            frames = [rows.join(vectors, "text_hash").orderBy("item_id").select("embedding", "category").toPandas() for rows in windows]
            found = language_quality.category_accuracy(frames[0], frames[1], self.settings.seed)
            measurements.append(Measurement("category_accuracy", f"model={name}", found.plain))
            measurements.append(Measurement("category_balanced_accuracy", f"model={name}", found.balanced))
        return [
            *measurements,
            Measurement("category_accuracy", "model=most_frequent", found.plain_by_chance),
            Measurement("category_balanced_accuracy", "model=most_frequent", found.balanced_by_chance),
        ]

    def _of(self, model: str) -> Embedding:
        """The embedding of the config with another model, by torch, which runs every model folder."""
        precision = self.embedding.precision if self.embedding.backend == "torch" else "auto"
        return self.embedding.model_copy(update={"model": model, "backend": "torch", "precision": precision})

    def _embedded(self, texts: DataFrame, model: str) -> DataFrame:
        return embed_texts(texts, self._of(model), self.context.spark.sparkContext.defaultParallelism)

    def record(self, plan: Plan, examples: dict[str, int], trained: Trained, measurements: list[Measurement]) -> dict[str, object]:
        """All that the trained model was made of."""
        context = self.context
        base = "random weights" if self.settings.base == "scratch" else model_id(self._of(self.embedding.model))
        return {
            "name": context.config.name,
            "objective": self.settings.objective,
            "base": base,
            "as_of": self.cut.isoformat(),
            "data": {
                "trained on": f"before {self.validated_from}",
                "validated on": f"{self.validated_from} to before {self.cut}",
                "judged on": f"{self.cut} to before {self.judged_to}" if measurements else "nothing: no events from the cut on",
                "first event": str(self.before.agg(F.min("event_date").alias("day")).first()["day"]),  # type: ignore[index]
            },
            "tables": dict(context.input_versions),
            "parameters": {
                **self.settings.model_dump(mode="json", exclude={"folder"}),
                "max_tokens": self.embedding.max_tokens,
                "steps_per_epoch": plan.epoch_steps,
            },
            "examples": examples,
            "epochs": [asdict(epoch) for epoch in trained.epochs],
            "best_epoch": trained.best.epoch,
            "metrics": {f"{m.metric}, {m.slice}": m.value for m in measurements},
            "model_id": model_id(self._of(plan.result)),
            "config_sha256": context.config_sha256,
            "code_version": __version__,
            "run_id": context.run_id,
        }


def _remove_others(workplace: Path, unfinished: str) -> None:
    """What trainings of other configs, tables or days left behind when they were killed, and the unfinished model of this one."""
    for other in workplace.parent.iterdir():
        if other != workplace:
            shutil.rmtree(other)
    shutil.rmtree(workplace / unfinished, ignore_errors=True)


def _of_training(trained: Trained) -> list[Measurement]:
    validation = [] if trained.best.validation_loss is None else [Measurement("validation_loss", "all", trained.best.validation_loss)]
    return [Measurement("training_loss", "all", trained.best.loss), *validation]


def _message(job: _Job, trained: Trained, measurements: list[Measurement]) -> str:
    judged = ", ".join(f"{m.metric} {m.slice.removeprefix('model=')} {m.value:.4g}" for m in measurements if m.slice != "all")
    return f"{job.settings.objective}, epoch {trained.best.epoch} of {len(trained.epochs)}; {judged or 'not judged'}; model {job.folder}"


main = stage_main("finetune_encoder", run)
