"""Small real tokenizers, trained in a moment on the repository's own prose, one per kind that behaves differently."""

import json
import random
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

CHAT_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou rewrite documents.<|im_end|>\n' }}{% endif %}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL_TOKENS = ["<|im_start|>", "<|im_end|>", "</s>"]
KINDS = ("plain", "nfc", "nfkc", "sentencepiece")
CORPUS = [path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parents[2].glob("prompts/**/*.md"))]


def make_tokenizer(folder: Path, kind: str, template: str | None = CHAT_TEMPLATE) -> str:
    """Write `tokenizer.json` and `tokenizer_config.json` into a new folder and return it."""
    tokenizer = Tokenizer(models.BPE())
    if kind == "sentencepiece":  # as Llama 2: no pre-tokeniser, "▁" for spaces and in front, bytes for the unknown
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        alphabet = []
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        if kind != "plain":
            tokenizer.normalizer = {"nfc": normalizers.NFC, "nfkc": normalizers.NFKC}[kind]()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<unk>", *SPECIAL_TOKENS], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS if alphabet else [text[:4000] for text in CORPUS], trainer)
    # What a file saved after training may carry, and what must not change a count.
    tokenizer.enable_truncation(max_length=5)
    tokenizer.enable_padding(length=20)
    definition = json.loads(tokenizer.to_str())
    if kind == "sentencepiece":
        vocabulary = definition["model"]["vocab"]
        for byte in range(256):
            vocabulary.setdefault(f"<0x{byte:02X}>", len(vocabulary))
        vocabulary.setdefault("▁", len(vocabulary))
        definition["model"]["byte_fallback"] = True
    folder.mkdir(parents=True)
    (folder / "tokenizer.json").write_text(json.dumps(definition), encoding="utf-8")
    config = {
        "eos_token": {"__type": "AddedToken", "content": "<|im_end|>"},
        "bos_token": None,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    if template is not None:
        config["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return str(folder)


def hostile_texts(seed: int, length: int) -> dict[str, str]:
    """Texts of about `length` characters that are unlike each other in how they tokenise."""
    rng = random.Random(seed)
    words = [word for text in CORPUS for word in text.split()]

    def sample(pieces: list[str]) -> str:
        # Repeated from 5,000 choices on: drawing millions takes longer than what is tested.
        text = "".join(rng.choices(pieces, k=min(length, 5000)))
        return (text * (length // len(text) + 1))[:length]

    return {
        "prose": sample(
            [" ".join(rng.choices(words, k=9)) + rng.choice([". ", "? ", ".\n\n", ".\n"]) for _ in range(50)]
        ),
        "no spaces": sample(list("abcdefghij")),
        "one letter": "a" * length,
        "chinese": sample(["水", "火", "山", "川", "人", "。", "，", "龍"]),
        "emoji": sample(["👩‍🚀", "🇫🇷", "é", "e\u0301", "👍🏽", " "]),
        "spaces": sample(["word", " " * 500, "\n" * 90, "\t", "x. "]),
        "only spaces": " \n" * (length // 2),
        "expanding": sample(["\ufdfa", "\u0958", "\u1f82", "\ufb2c", "½", "ﬁ", "\u0344", " "]),
        "markup": sample(
            ["[[DOCUMENT]]", "<|im_end|>", "<|im_start|>assistant\n", "{{ messages }}", "{% if %}", "</s>", "\x00"]
        ),
        "digits": sample(["3.14", "1,000", "2024-01-02", " | ", "\n|---|\n"]),
    }
