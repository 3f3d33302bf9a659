"""The tokenizer of finemill-tiny: a BPE of 4,096 tokens with single digits and bytes for characters it does not know.

It is laid out like that of Llama 2 (`▁` for a space, `<0x0A>` for a byte), not like that of GPT-2: converters to GGUF
know byte-level tokenizers only by the hash of their vocabulary, and a new vocabulary is unknown to them, whereas this
layout is read without a table. No token holds two digits or mixes letters with marks, and the pieces of a word are the
same with and without a space before it: so a number or a name is copied token by token wherever it stands, be it at the
beginning of a line. Only common words have a token together with their space, since that is shorter.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

VOCABULARY = 4096
"""Tokens, with the special ones and the 256 bytes."""

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
"""What a tokenizer's folder holds; the second is written last."""

CONTEXT = 2048
"""Tokens of prompt and answer together."""

COMMON = 800
"""Words and marks that have a token of their own together with the space before them."""

PAD, UNKNOWN, START, END = "<|endoftext|>", "<unk>", "<|im_start|>", "<|im_end|>"
SPECIAL = (PAD, UNKNOWN, START, END)

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)

# A word with the space before it, one digit, a run of other marks, line ends, what spaces are left.
_PIECES = r"▁?\p{L}+|\p{N}|▁?[^\p{L}\p{N}▁\n]+|\n+|▁+"
_PIECES_WITHOUT_SPACE = _PIECES.replace("▁?", "")


def train_tokenizer(texts: Iterable[str], folder: Path) -> None:
    """Train on `texts` and write `TOKENIZER_FILES` into `folder`.

    The same texts in the same order give the same files.

    Raises:
        ValueError: the texts are too few for a vocabulary of `VOCABULARY` tokens.
    """
    learner = _splitting(models.BPE(), _PIECES_WITHOUT_SPACE)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - COMMON - len(SPECIAL) - 256, min_frequency=2, limit_alphabet=160, show_progress=False
    )
    spaced: Counter[str] = Counter()

    def counted() -> Iterator[str]:
        for text in texts:
            spaced.update(re.findall(r"(?<= )(?:[^\W\d_]+|[^\w\s]+)", text))
            yield text

    learner.train_from_iterator(counted(), trainer)
    learned = json.loads(learner.to_str())["model"]
    names = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    names += sorted(learned["vocab"], key=learned["vocab"].__getitem__)
    names += [f"▁{word}" for word, _ in spaced.most_common() if word in learned["vocab"]][:COMMON]
    if len(names) != VOCABULARY:
        raise ValueError(f"the texts give {len(names)} tokens, not {VOCABULARY}: train on more")
    merges = [tuple(pair) for pair in learned["merges"]]
    vocabulary = {name: at for at, name in enumerate(names)}
    # No merge leads to the common words: they are looked up whole, so that "▁theology" does not begin with "▁the".
    bpe = models.BPE(vocabulary, merges, byte_fallback=True, unk_token=UNKNOWN, ignore_merges=True)
    tokenizer = _splitting(bpe, _PIECES)
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIAL])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": CONTEXT,
        "pad_token": PAD,
        "unk_token": UNKNOWN,
        "eos_token": END,
        "bos_token": None,
        "add_bos_token": False,
        "add_prefix_space": False,  # converters would otherwise put one before every text
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _splitting(model: models.Model, pieces: str) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pieces), behavior="isolated")
    return tokenizer
