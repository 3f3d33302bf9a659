"""From an experiment to a folder that can be trained: configuration, links to the data, scripts that start it.

    OUTPUT/config.yaml          for nanotron
    OUTPUT/resume.yaml          the same, from the newest checkpoint
    OUTPUT/data-s3/<source>/00000000.ds   links to the files of pipelines/tokens.py, once per epoch
    OUTPUT/data.json            hashes of these files, which pipelines/tokens.py replaces when a run grows
    OUTPUT/data.sizes           their sizes, which the scripts look at
    OUTPUT/train.sh             starts it on this machine, where that has all of its GPUs
    OUTPUT/train.sbatch         starts it on Slurm, and again after a preemption
    OUTPUT/checkpoints/

The links make two things right that nanotron does not: a path with "s3" in it, wherever the tokens are, and several
epochs, since it reads a folder once.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson
from pydantic import ValidationError

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
    read_config,
    to_yaml,
)
from blocks.pretrain.read import explain
from blocks.shards.folder import RunError, write_atomically

DATA = "data-s3"

HASHES = "data.json"

_SIZES = """if ! find {data} -name '*.ds' -exec stat -Lc '%s %n' {{}} + | LC_ALL=C sort | cmp -s - data.sizes; then
  echo "the tokens behind {data} are not those that this training was written for: run pipelines/pretrain.py again" >&2
  exit 1
fi
"""

_START = """set -euo pipefail
: "${{NANOTRON:?set it to a checkout of github.com/huggingface/nanotron}}"
NANOTRON=$(realpath "$NANOTRON")
cd {folder}
config=config.yaml
if [ -e checkpoints/latest.txt ]; then config=resume.yaml; fi
export CUDA_DEVICE_MAX_CONNECTIONS=1  # or computing and communicating do not overlap
export FORCE_UPDATE_CACHE_S3=1  # or nanotron goes by the list of files that a folder on S3 had once
"""

_TRAIN = """#!/usr/bin/env bash
# Trains {name} on the GPUs of this machine; start it again to go on from the newest checkpoint.
{start}exec torchrun --standalone --nproc-per-node={gpus} "$NANOTRON/run_train.py" --config-file "$config"
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
#SBATCH --output="{log}"
# Trains {name}. After a preemption, or two minutes before its time limit, it goes back into the queue, and on from the
# newest checkpoint. Partition, account and time limit are your cluster's: sbatch --partition … train.sbatch
{start}head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((20000 + SLURM_JOB_ID % 10000))
trap 'scontrol requeue "$SLURM_JOB_ID"' USR1
srun torchrun --nnodes={nodes} --nproc-per-node={gpus} --rdzv-backend=c10d --rdzv-id="$SLURM_JOB_ID" \\
  --rdzv-endpoint="$head:$port" "$NANOTRON/run_train.py" --config-file "$config" &
wait $!
"""


def configure(experiment: Experiment, portions: Sequence[Portion], output: Path) -> Config:
    """The configuration of an experiment.

    Args:
        experiment: what is to be trained.
        portions: of the sources, see `plan`.
        output: where its folder will be, absolute.

    Raises:
        RunError: nanotron would refuse it.
    """
    try:
        config = _configure(experiment, portions, output)
        return _go_on(config, experiment) if experiment.after else config
    except ValidationError as error:
        raise RunError(f"{experiment.name}: {explain(error)}") from error


def _configure(experiment: Experiment, portions: Sequence[Portion], output: Path) -> Config:
    preset, steps = experiment.preset, experiment.train_steps
    tokenizer = portions[0].folder.tokenizer
    decay = max(1, round(experiment.decay * steps))
    warmup = round(experiment.warmup * steps)
    dataset = Dataset(
        dataset_folder=[str(folder_of(portion, output)) for portion in portions],
        dataset_weights=[portion.weight for portion in portions],
        tokenizer_name=tokenizer["name"],
        vocab_size=tokenizer["vocab_size"],
        token_size_in_bytes=tokenizer["token_size"],
        # Links are in the order of the seed already, epoch by epoch, which must not be shuffled away.
        shuffle_files=all("://" in portion.folder.files[0] for portion in portions),
    )
    stage = Stage(name="training", start_training_step=1, data=Data(dataset=dataset, seed=experiment.data_seed))
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
                lr_warmup_steps=warmup,
                lr_warmup_style="linear" if warmup else "constant",  # linear without steps is a first step at 0
                lr_decay_starting_step=steps - decay,
                lr_decay_steps=decay,
                min_decay_lr=experiment.min_learning_rate,
            )
        ),
        data_stages=[stage],
        # nanotron uploads all of checkpoints/: two trainings must not share a path.
        s3_upload=S3Upload(upload_s3_path=f"{experiment.upload.rstrip('/')}/{experiment.name}")
        if experiment.upload
        else None,
    )


_SAME_STEPS: dict[str, Callable[[Config], object]] = {
    "model": lambda config: config.model,
    "tokenizer": lambda config: config.tokenizer,
    "sequence_length": lambda config: config.tokens.sequence_length,
    "steps": lambda config: config.tokens.train_steps,
    "batch": lambda config: config.windows_per_step,
    "learning rate": lambda config: config.optimizer,
}


def _go_on(config: Config, experiment: Experiment) -> Config:
    """The configuration with the stages of the training before it, from one of its checkpoints.

    nanotron takes a stage for new when it starts one step after the checkpoint, and then reads its data from the start;
    but a folder that an earlier stage has read, from where that stopped. Ours belong to this training alone, those on
    S3 do not.
    """
    assert experiment.after
    training, step = Path(experiment.after.training).absolute(), experiment.after.step
    before = read_config(training / "config.yaml")
    # What the checkpoint's optimizer and schedule were made for. The GPUs may be others, as long as a step is the same.
    for what, of in _SAME_STEPS.items():
        if of(before) != of(config):
            raise RunError(f"{experiment.name}: its {what} must be that of {training}, from where it goes on")
    read = {folder for stage in before.data_stages for folder in stage.data.dataset.dataset_folder}
    if again := sorted(read & set(config.data_stages[-1].data.dataset.dataset_folder)):
        raise RunError(
            f"{experiment.name}: {again[0]} was read before step {step:,}, and nanotron would go on behind that: copy "
            f"it to a disk"
        )
    if before.s3_upload:
        checkpoint = f"{before.s3_upload.upload_s3_path}/{step}"
    else:
        checkpoint = f"{before.checkpoints.checkpoints_path}/{step}"
        if not Path(checkpoint, "model_config.json").exists():
            raise RunError(f"{experiment.name}: {training} has no checkpoint of step {step:,} to go on from")
    new = config.data_stages[-1].model_copy(update={"name": f"after-{step}", "start_training_step": step + 1})
    values = config.model_dump(by_alias=True)
    values["data_stages"] = [stage.model_dump(by_alias=True) for stage in (*before.data_stages, new)]
    values["checkpoints"]["resume_checkpoint_path"] = checkpoint
    return Config.model_validate(values)


def folder_of(portion: Portion, output: Path) -> Path | str:
    """Where nanotron reads a source: links on this disk, or the tokens themselves on S3."""
    first = portion.folder.files[0]
    return first.rpartition("/")[0] if "://" in first else output / DATA / portion.name


def check_gpus(experiment: Experiment, per_node: int) -> None:
    """Make sure that the GPUs fill their nodes.

    Raises:
        RunError: they do not.
    """
    if experiment.gpus > per_node and experiment.gpus % per_node:
        raise RunError(f"{experiment.gpus} GPUs are no multiple of the {per_node} of a node (--gpus-per-node)")


def is_configured(output: Path, config: Config) -> bool:
    """Whether the folder of an experiment holds this very configuration."""
    file = output / "config.yaml"
    return file.exists() and file.read_text() == to_yaml(config)


def write_experiment(
    experiment: Experiment, portions: Sequence[Portion], config: Config, output: Path, gpus_per_node: int = 8
) -> None:
    """Write the folder of an experiment; one that is there already stays as it is.

    Args:
        experiment: what is to be trained.
        portions: of the sources.
        config: as `configure` gave it.
        output: the folder, absolute.
        gpus_per_node: of the cluster, see `check_gpus`.

    Raises:
        RunError: the folder has checkpoints of another configuration, or of other data.
    """
    wanted = {
        f"{portion.name}/{name}{suffix}": f"{target}{suffix}"
        for portion in portions
        if isinstance(folder_of(portion, output), Path)
        for name, target in links(portion, experiment.data_seed)
        for suffix in ("", ".index", ".metadata")
    }
    data = output / DATA
    there = {str(path.relative_to(data)): str(path.readlink()) for path in data.rglob("*") if path.is_symlink()}
    hashes = {one.name: dict(zip(one.folder.files, one.folder.hashes, strict=True)) for one in portions}
    known = output / HASHES
    same = is_configured(output, config) and (not known.exists() or orjson.loads(known.read_bytes()) == hashes)
    if (output / "checkpoints").exists() and not (same and there == wanted):
        raise RunError(
            f"{output} has checkpoints of another configuration, or of other data, and would go on from them: give "
            f"another --output, or delete it"
        )
    output.mkdir(parents=True, exist_ok=True)
    if there != wanted:
        new = output / f".{DATA}"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        for path, target in wanted.items():
            (new / path).parent.mkdir(parents=True, exist_ok=True)
            (new / path).symlink_to(target)
        shutil.rmtree(data, ignore_errors=True)
        new.rename(data)
    resume = config.model_copy(deep=True)
    # After an upload only the S3 folder has the checkpoints; its latest.txt says which is the newest.
    uploaded = config.s3_upload.upload_s3_path if config.s3_upload else None
    resume.checkpoints.resume_checkpoint_path = uploaded or config.checkpoints.checkpoints_path
    gpus, nodes = min(gpus_per_node, experiment.gpus), -(-experiment.gpus // gpus_per_node)
    start = _START.format(folder=shlex.quote(str(output)))
    if wanted:
        start += _SIZES.format(data=DATA)
    log = str(output / "train.log").replace("%", "%%")
    told = {"name": experiment.name, "gpus": gpus, "nodes": nodes, "start": start, "log": log}
    bytes_of = {path: size for one in portions for path, size in zip(one.folder.files, one.folder.bytes, strict=True)}
    sizes = sorted(
        f"{bytes_of[target]} {DATA}/{link}\n".encode() for link, target in wanted.items() if link.endswith(".ds")
    )
    write_atomically(known, orjson.dumps(hashes, option=orjson.OPT_INDENT_2))
    write_atomically(output / "data.sizes", b"".join(sizes))
    files = {"config.yaml": to_yaml(config), "resume.yaml": to_yaml(resume), "train.sbatch": _SBATCH.format(**told)}
    if nodes == 1:
        files["train.sh"] = _TRAIN.format(**told)
    for name, text in files.items():
        write_atomically(output / name, text.encode())
        (output / name).chmod(0o755 if name.startswith("train") else 0o644)
