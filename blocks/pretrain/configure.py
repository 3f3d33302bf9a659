"""From an experiment to a folder that can be trained: configuration, links to the data, scripts that start it.

    OUTPUT/config.yaml          for nanotron
    OUTPUT/resume.yaml          the same, from the newest checkpoint
    OUTPUT/data-s3/<stage>/<source>/00000.ds   links to the files of pipelines/tokens.py, once per epoch
    OUTPUT/train.sh             starts it on this machine
    OUTPUT/train.sbatch         starts it on Slurm, and again after a preemption
    OUTPUT/checkpoints/

The links make two things right that nanotron does not: a path with "s3" in it, wherever the tokens are, and several
epochs, since it reads a folder once.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from blocks.pretrain.mixture import Experiment, Portion, links
from blocks.pretrain.nanotron import (
    Checkpoints,
    Config,
    Data,
    Dataset,
    General,
    Model,
    ModelConfig,
    Optimizer,
    Parallelism,
    S3Upload,
    Schedule,
    Stage,
    Tokenizer,
    Tokens,
    to_yaml,
)
from blocks.shards.folder import write_atomically

DATA = "data-s3"

_TRAIN = """#!/usr/bin/env bash
# Trains {name} on the GPUs of this machine; start it again to go on from the newest checkpoint.
set -euo pipefail
cd "$(dirname "$0")"
: "${{NANOTRON:?set it to a checkout of github.com/huggingface/nanotron}}"
config=config.yaml
if [ -e checkpoints/latest.txt ]; then config=resume.yaml; fi
export CUDA_DEVICE_MAX_CONNECTIONS=1  # or computing and communicating do not overlap
exec torchrun --standalone --nproc-per-node={gpus} "$NANOTRON/run_train.py" --config-file "$config"
"""

_SBATCH = """#!/usr/bin/env bash
#SBATCH --job-name={name}
#SBATCH --nodes={nodes}
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node={gpus}
#SBATCH --exclusive
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120
#SBATCH --output={folder}/train.log
# Trains {name}. After a preemption, or two minutes before its time limit, it goes back into the queue, and on from the
# newest checkpoint. Partition, account and time limit are your cluster's: sbatch --partition … {folder}/train.sbatch
set -euo pipefail
cd {folder}
: "${{NANOTRON:?set it to a checkout of github.com/huggingface/nanotron}}"
config=config.yaml
if [ -e checkpoints/latest.txt ]; then config=resume.yaml; fi
export CUDA_DEVICE_MAX_CONNECTIONS=1  # or computing and communicating do not overlap
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
trap 'scontrol requeue "$SLURM_JOB_ID"' USR1
srun torchrun --nnodes={nodes} --nproc-per-node={gpus} --rdzv-backend=c10d --rdzv-id="$SLURM_JOB_ID" \\
  --rdzv-endpoint="$head:29500" "$NANOTRON/run_train.py" --config-file "$config" &
wait $!
"""


def configure(experiment: Experiment, portions: Sequence[Portion], output: Path) -> Config:
    """The configuration of an experiment.

    Args:
        experiment: what is to be trained.
        portions: of the sources, see `plan`.
        output: where its folder will be, absolute.
    """
    preset, steps = experiment.preset, experiment.train_steps
    tokenizer = portions[0].folder.tokenizer
    decay = max(1, round(experiment.decay * steps))
    stages = []
    for name, stage in experiment.all_stages.items():
        mine = [portion for portion in portions if portion.stage == name]
        dataset = Dataset(
            dataset_folder=[str(folder_of(portion, output)) for portion in mine],
            dataset_weights=[portion.weight for portion in mine],
            tokenizer_name=tokenizer["name"],
            vocab_size=tokenizer["vocab_size"],
            token_size_in_bytes=tokenizer["token_size"],
        )
        stages.append(
            Stage(name=name, start_training_step=stage.start, data=Data(dataset=dataset, seed=experiment.data_seed))
        )
    shape = preset.qwen2_config(tokenizer["vocab_size"], experiment.sequence_length)
    return Config(
        general=General(project="finemill", run=experiment.name, seed=experiment.seed),
        parallelism=Parallelism(dp=experiment.dp, tp=experiment.tp, recompute_layer=preset.recompute_layer),
        model=Model(
            # There is no token in front of documents; what begins a text is the end of the one before.
            model_config=ModelConfig(**shape, bos_token_id=tokenizer["eos_id"], eos_token_id=tokenizer["eos_id"]),
            init_method={"std": shape["initializer_range"]},
        ),
        tokenizer=Tokenizer(tokenizer_name_or_path=tokenizer["name"]),
        checkpoints=Checkpoints(
            checkpoints_path=str(output / "checkpoints"), checkpoint_interval=experiment.checkpoint_every
        ),
        tokens=Tokens(
            sequence_length=experiment.sequence_length,
            train_steps=steps,
            micro_batch_size=experiment.micro_batch,
            batch_accumulation_per_replica=experiment.batch // (experiment.micro_batch * experiment.dp),
        ),
        optimizer=Optimizer(
            learning_rate_scheduler=Schedule(
                learning_rate=experiment.learning_rate,
                lr_warmup_steps=round(experiment.warmup * steps),
                lr_decay_starting_step=steps - decay,
                lr_decay_steps=decay,
                min_decay_lr=experiment.min_learning_rate,
            )
        ),
        data_stages=stages,
        s3_upload=S3Upload(upload_s3_path=experiment.upload) if experiment.upload else None,
    )


def folder_of(portion: Portion, output: Path) -> Path | str:
    """Where nanotron reads a source: links on this disk, or the tokens themselves on S3."""
    first = portion.folder.files[0]
    return first.rpartition("/")[0] if "://" in first else output / DATA / portion.stage / portion.name


def write_experiment(
    experiment: Experiment, portions: Sequence[Portion], config: Config, output: Path, gpus_per_node: int = 8
) -> None:
    """Write the folder of an experiment.

    Args:
        experiment: what is to be trained.
        portions: of the sources.
        config: as `configure` gave it.
        output: the folder, absolute.
        gpus_per_node: of the cluster.
    """
    shutil.rmtree(output / DATA, ignore_errors=True)
    for portion in portions:
        folder = folder_of(portion, output)
        if isinstance(folder, str):
            continue
        folder.mkdir(parents=True)
        for name, target in links(portion):
            for suffix in ("", ".index", ".metadata"):
                (folder / f"{name}{suffix}").symlink_to(f"{target}{suffix}")
    resume = config.model_copy(deep=True)
    resume.checkpoints.resume_checkpoint_path = resume.checkpoints.checkpoints_path
    per_node = min(gpus_per_node, experiment.gpus)
    told = {"name": experiment.name, "folder": output, "gpus": per_node, "nodes": -(-experiment.gpus // per_node)}
    for name, text in (
        ("config.yaml", to_yaml(config)),
        ("resume.yaml", to_yaml(resume)),
        ("train.sh", _TRAIN.format(**{**told, "gpus": experiment.gpus})),
        ("train.sbatch", _SBATCH.format(**told)),
    ):
        write_atomically(output / name, text.encode())
        (output / name).chmod(0o755 if name.startswith("train") else 0o644)
