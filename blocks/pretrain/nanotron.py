"""The configuration of a nanotron run: every key that finemill writes, typed, and what would go wrong said beforehand.

nanotron parses its YAML strictly, but tells little: any error in a dataset block is "can not match type", a model with
common keys only becomes a Llama, a missing folder is found by the first step, a budget that is too long by the last.
The schema follows its dataclasses (github.com/huggingface/nanotron at 2411b022, `src/nanotron/config`). The package
itself is not needed, and the one on PyPI is another, older program.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from blocks.pretrain.read import read_yaml
from blocks.shards.folder import RunError

Positive = Annotated[int, Field(gt=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class General(_Strict):
    """`general`: names and the seed of the weights."""

    project: str
    run: str
    seed: int
    ignore_sanity_checks: bool = True


class Parallelism(_Strict):
    """`parallelism`: how the GPUs share the work; there are dp · tp · pp of them."""

    dp: Positive
    tp: Positive = 1
    pp: Positive = 1
    pp_engine: Literal["1f1b", "afab"] = "1f1b"
    tp_mode: Literal["ALL_REDUCE", "REDUCE_SCATTER"] = "REDUCE_SCATTER"
    tp_linear_async_communication: bool = True
    recompute_layer: bool = False


class ModelConfig(_Strict):
    """`model.model_config`: a Qwen2-style decoder with attention inside of documents."""

    is_qwen2_config: Literal[True] = True
    hidden_size: Positive
    intermediate_size: Positive
    num_hidden_layers: Positive
    num_attention_heads: Positive
    num_key_value_heads: Positive
    vocab_size: Positive
    max_position_embeddings: Positive
    hidden_act: Literal["silu"] = "silu"
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10_000.0
    tie_word_embeddings: bool = True
    attention_bias: bool = False
    bos_token_id: int
    eos_token_id: int
    pad_token_id: int | None = None
    use_cache: bool = True
    # nanotron runs flash attention whatever is said here, and fails without packed projections.
    attn_implementation: Literal["flash_attention_2"] = Field("flash_attention_2", alias="_attn_implementation")
    use_doc_masking: bool = Field(True, alias="_use_doc_masking")
    use_qkv_packed: Literal[True] = Field(True, alias="_use_qkv_packed")
    fused_rotary_emb: bool = Field(True, alias="_fused_rotary_emb")
    fused_rms_norm: bool = Field(True, alias="_fused_rms_norm")


class Model(_Strict):
    """`model`: its shape and how it begins."""

    shape: ModelConfig = Field(alias="model_config")
    init_method: dict[str, Any]
    dtype: Literal["bfloat16"] = "bfloat16"
    make_vocab_size_divisible_by: Positive = 1
    ddp_bucket_cap_mb: Positive = 50


class Tokenizer(_Strict):
    """`tokenizer`: for the checkpoints; the data have their own."""

    tokenizer_name_or_path: str


class Checkpoints(_Strict):
    """`checkpoints`: where to and how often."""

    checkpoints_path: str
    checkpoint_interval: Positive
    checkpoints_path_is_shared_file_system: bool = True
    resume_checkpoint_path: str | None = None
    save_initial_state: bool = False
    save_final_state: bool = True


class Logging(_Strict):
    """`logging`: what is printed."""

    iteration_step_info_interval: Positive = 1
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_level_replica: Literal["debug", "info", "warning", "error"] = "warning"


class Tokens(_Strict):
    """`tokens`: how much is trained on. A step sees micro batch · accumulation · dp windows."""

    sequence_length: Positive
    train_steps: Positive
    micro_batch_size: Positive
    batch_accumulation_per_replica: Positive
    val_check_interval: int = -1
    limit_val_batches: int = 0
    limit_test_batches: int = 0


class OptimizerFactory(_Strict):
    """`optimizer.optimizer_factory`: AdamW."""

    name: Literal["adamW"] = "adamW"
    adam_beta1: float = 0.9
    adam_beta2: float = 0.95
    adam_eps: float = 1e-8
    torch_adam_is_fused: bool = True


class Schedule(_Strict):
    """`optimizer.learning_rate_scheduler`: warm-up, stable, decay."""

    learning_rate: Annotated[float, Field(gt=0)]
    lr_warmup_steps: Annotated[int, Field(ge=0)]
    lr_warmup_style: Literal["linear", "constant"] = "linear"
    lr_decay_style: Literal["linear", "cosine", "1-sqrt"] = "linear"
    lr_decay_starting_step: Annotated[int, Field(ge=0)]
    lr_decay_steps: Positive
    min_decay_lr: Annotated[float, Field(ge=0)]


class Optimizer(_Strict):
    """`optimizer`."""

    zero_stage: Literal[0, 1] = 0
    weight_decay: float = 0.1
    weight_decay_exclude_named_params: list[str] = [".*token_embedding.*"]
    clip_grad: float = 1.0
    accumulate_grad_in_fp32: bool = True
    optimizer_factory: OptimizerFactory = OptimizerFactory()
    learning_rate_scheduler: Schedule


class Dataset(_Strict):
    """`data.dataset`: folders of `.ds` files. Without all three keys of the tokenizer, parsing would ask the Hub."""

    dataset_folder: Annotated[list[str], Field(min_length=1)]
    dataset_weights: list[Annotated[float, Field(gt=0)]]
    tokenizer_name: str
    vocab_size: Positive
    token_size_in_bytes: Literal[2, 4]
    return_positions: bool = True
    pad_samples_to_global_batch_size: bool = False
    shuffle_files: bool = False
    use_old_brrr_dataloader: Literal[False] = False

    @model_validator(mode="before")
    @classmethod
    def _list_form(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("dataset_folder"), dict):
            raise ValueError(
                "dataset_folder is a mapping, as nanotron's documentation shows and its code refuses: give a list of "
                "folders, and dataset_weights beside it"
            )
        return values

    @model_validator(mode="after")
    def _fits(self) -> Dataset:
        if len(self.dataset_weights) != len(self.dataset_folder):
            raise ValueError(f"{len(self.dataset_folder)} folders and {len(self.dataset_weights)} weights")
        for folder in self.dataset_folder:
            if "s3" not in folder:
                raise ValueError(
                    f"nanotron crashes after its first step where the path of a folder does not hold the letters s3 "
                    f"(its issue 387): {folder}; link to it from a folder that does"
                )
        if (self.vocab_size > 1 << 16) != (self.token_size_in_bytes == 4):
            raise ValueError(f"{self.vocab_size:,} tokens do not go with {self.token_size_in_bytes} bytes for each")
        return self


class Data(_Strict):
    """`data_stages[].data`."""

    dataset: Dataset
    seed: int
    num_loading_workers: Positive = 1


class Stage(_Strict):
    """`data_stages[]`: from which step on which data."""

    name: str
    start_training_step: Positive
    data: Data


class S3Upload(_Strict):
    """`s3_upload`: checkpoints are moved there; nanotron evaluates only then."""

    upload_s3_path: Annotated[str, Field(pattern=r"^s3://")]
    remove_after_upload: bool = True


class Config(_Strict):
    """A whole configuration."""

    general: General
    parallelism: Parallelism
    model: Model
    tokenizer: Tokenizer
    checkpoints: Checkpoints
    logging: Logging = Logging()
    tokens: Tokens
    optimizer: Optimizer
    data_stages: Annotated[list[Stage], Field(min_length=1)]
    s3_upload: S3Upload | None = None

    @property
    def windows_per_step(self) -> int:
        """The global batch size, in windows of `sequence_length` tokens."""
        return self.tokens.micro_batch_size * self.tokens.batch_accumulation_per_replica * self.parallelism.dp

    @model_validator(mode="after")
    def _goes_together(self) -> Config:
        for problem in _problems(self):
            raise ValueError(problem)
        return self


def _problems(config: Config) -> list[str]:
    """What parts of the configuration say about each other that cannot be."""
    found = []
    shape, parallel, schedule = config.model.shape, config.parallelism, config.optimizer.learning_rate_scheduler
    starts = [stage.start_training_step for stage in config.data_stages]
    if starts[0] != 1 or sorted(set(starts)) != starts:
        found.append("data_stages: there must be one stage that starts at step 1, and each starts after the one before")
    elif len(starts) > 1 and config.checkpoints.resume_checkpoint_path is None:
        found.append(
            "data_stages: nanotron's main builds the loader of the last stage only, and trains on that from the "
            "beginning (its pull request 380); another stage needs resume_checkpoint_path, the checkpoint before it"
        )
    if shape.num_attention_heads % parallel.tp or shape.num_key_value_heads % parallel.tp:
        found.append(
            f"tp {parallel.tp} must divide the {shape.num_attention_heads} heads and the {shape.num_key_value_heads} "
            f"heads of keys"
        )
    if shape.max_position_embeddings < config.tokens.sequence_length:
        found.append(
            f"windows of {config.tokens.sequence_length:,} tokens, and max_position_embeddings "
            f"{shape.max_position_embeddings:,}"
        )
    end = schedule.lr_decay_starting_step + schedule.lr_decay_steps
    if end > config.tokens.train_steps:
        found.append(f"the decay of the learning rate would end at step {end:,} of {config.tokens.train_steps:,}")
    if schedule.lr_warmup_steps > schedule.lr_decay_starting_step:
        found.append("the learning rate would decay before its warm-up is over")
    for stage in config.data_stages:
        dataset = stage.data.dataset
        if dataset.vocab_size != shape.vocab_size:
            found.append(f"stage {stage.name}: {dataset.vocab_size:,} tokens, and the model {shape.vocab_size:,}")
        if shape.use_doc_masking and not dataset.return_positions:
            found.append(f"stage {stage.name}: _use_doc_masking needs return_positions")
    return found


def to_yaml(config: Config) -> str:
    """The text of the configuration file."""
    return yaml.safe_dump(config.model_dump(by_alias=True, exclude_none=True), sort_keys=False, allow_unicode=True)


def read_config(path: Path) -> Config:
    """Read and check a configuration file.

    Raises:
        RunError: it cannot be read, or nanotron would refuse it, or crash later; the message says what and why.
    """
    return read_yaml(path, Config)


def read_with_nanotron(path: Path, checkout: Path) -> None:
    """Let nanotron itself read a configuration file.

    Args:
        path: the file.
        checkout: of github.com/huggingface/nanotron; its dependencies are those of the Python in NANOTRON_PYTHON, or of
            this one.

    Raises:
        RunError: it refuses the file, or cannot be imported; with what it says.
    """
    code = "import sys; from nanotron.config import get_config_from_file; get_config_from_file(sys.argv[1])"
    environment = {**os.environ, "PYTHONPATH": f"{checkout / 'src'}"}
    command = [os.environ.get("NANOTRON_PYTHON") or sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or ["nothing"]
        raise RunError(f"{checkout} does not read {path}: {said[0]} (NANOTRON_PYTHON is the Python that it runs with)")
