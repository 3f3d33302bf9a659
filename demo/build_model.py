"""Build the demo model: `python demo/build_model.py OUT_DIR [--seed 0]`.

A Llama with 1.3 million random weights, a byte-level BPE tokenizer trained on `demo/documents.jsonl`, and a ChatML
chat template, written in Hugging Face format. It stands in for a real model where there is no hub and no GPU: every
part of a server and a client is exercised, its tokens are real tokens, and each takes 2 to 3 milliseconds on a CPU.

**Its text is noise and never stops by itself.** The weights are untrained, and the generation config suppresses the
special tokens, so every answer runs to `max_tokens` and ends with `finish_reason: length`. It also suppresses control
characters and parts of characters, so the noise is valid text made of word pieces from the documents.

The build depends only on this file, the documents, the seed and the library versions. Their hash is written last, as
`build.stamp`; a folder with the right stamp is left alone, without importing torch, in well under a second.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

DOCUMENTS = Path(__file__).parent / "documents.jsonl"
STAMP = "build.stamp"

VOCABULARY = 4096  # an upper bound: training stops earlier when no pair of tokens occurs twice
CONTEXT = 4096  # tokens; the longest sample document has twice as many
LAYERS, WIDTH, HEADS = 2, 128, 4

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)


def build_model(out_dir: Path, seed: int = 0) -> bool:
    """Write the demo model into `out_dir`, unless it is there already.

    Args:
        out_dir: Folder for the model's files; made if missing, files of an older build are overwritten.
        seed: Seed of the random weights.

    Returns:
        True when the model was built, False when `out_dir` already held this build.

    Raises:
        PackageNotFoundError: torch, transformers or tokenizers is not installed.
    """
    stamp_file, stamp = out_dir / STAMP, _stamp(seed)
    if stamp_file.is_file() and stamp_file.read_text() == stamp:
        return False

    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    out_dir.mkdir(parents=True, exist_ok=True)
    stamp_file.unlink(missing_ok=True)  # until the new build is whole, the folder is no build at all

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=2,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(_texts(), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token=END, pad_token=PAD, model_max_length=CONTEXT, extra_special_tokens=[START]
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(out_dir)

    torch.manual_seed(seed)
    ids = {"bos_token_id": None, "eos_token_id": bpe.token_to_id(END), "pad_token_id": bpe.token_to_id(PAD)}
    config = LlamaConfig(
        vocab_size=bpe.get_vocab_size(),
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        max_position_embeddings=CONTEXT,
        **ids,
    )
    model = LlamaForCausalLM(config)
    suppressed = [token for token in range(config.vocab_size) if not _is_text(bpe.decode([token]))]
    model.generation_config = GenerationConfig(do_sample=True, temperature=1.0, suppress_tokens=suppressed, **ids)
    model.save_pretrained(out_dir)

    stamp_file.write_text(stamp)
    return True


def _stamp(seed: int) -> str:
    """Hash of everything that the built files depend on."""
    parts = [f"seed {seed}", *(f"{name} {version(name)}" for name in ("torch", "transformers", "tokenizers"))]
    digest = hashlib.sha256("\n".join(parts).encode())
    for file in (Path(__file__), DOCUMENTS):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _is_text(decoded: str) -> bool:
    """Whether a token is text by itself: not a special token, not part of a character, not a control character."""
    return bool(decoded) and "\ufffd" not in decoded and decoded.replace("\n", "").isprintable()


def _texts() -> Iterator[str]:
    with DOCUMENTS.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)["text"]


def main() -> None:
    """Build the model from the command line."""
    parser = argparse.ArgumentParser(description="Build the demo model: a tiny Llama with random weights.")
    parser.add_argument("out_dir", type=Path, help="folder for the model's files")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random weights (default: 0)")
    args = parser.parse_args()
    try:
        built = build_model(args.out_dir, args.seed)
    except PackageNotFoundError as error:
        sys.exit(f"{error.name} is not installed; run `python {Path(__file__).with_name('install_cpu.py')}` first")
    print(f"demo model {'built' if built else 'already there'}: {args.out_dir}")


if __name__ == "__main__":
    main()
