"""The recipe's section `model`, and names of what is asked of a model elsewhere."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ..settings import Location, Section

#: `adapter.targets`: every linear layer but the output embedding.
ALL_LINEAR = "all-linear"

#: What the products of a pass are made in; auto: in what suits the weights and the machine.
Precision = Literal["auto", "fp32", "bf16"]


class Model(Section):
    """The model to unlearn from."""

    path: Location = Field(description="folder, or organisation/name on the hub")
    revision: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="auto: on an accelerator the checkpoint's own, but bfloat16 for float16, in which gradients "
        "vanish; float32 on a CPU",
    )
    quantization: Literal["4bit", "8bit"] | None = Field(None, description="of the base, by bitsandbytes")
    trust_remote_code: bool = Field(
        False,
        description="the model needs Python code of its own; it is run where --trust-remote-code says so",
    )
    adapters: list[Location] = Field(
        [],
        description="adapters of earlier runs, added to the model in memory, in this order, when it is loaded",
    )

    @model_validator(mode="after")
    def _adapters_need_full_weights(self) -> Model:
        if self.adapters and self.quantization:
            raise ValueError(
                f"adapters cannot be added to weights that are quantised to {self.quantization}. Leave "
                "model.quantization out, or export the earlier result as a merged model"
            )
        return self
