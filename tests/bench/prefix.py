"""How many prompt tokens a server with prefix caching must compute for four formats of each document, in both layouts.

    python tests/bench/prefix.py [--input demo/documents.jsonl] [--tokenizer FOLDER]

The real pipeline runs against a server that records the prompts in the order in which they arrive; the cache is then
simulated as vLLM's: blocks of 16 tokens, a block is found when it and everything before it are the same, least recently
used blocks go first. The cache holds 21,000 blocks, about what SmolLM2-1.7B leaves on an 80 GB GPU (196 kB per token in
bf16). The last line is JSON: tokens computed for four formats as a multiple of the prompt tokens of one format.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

from common import HERE, scratch, server

sys.path.insert(0, str(HERE.parents[1]))

from blocks.generate.tokenizer import ModelTokenizer
from tests.generate.small_tokenizers import make_tokenizer

BLOCK = 16
CACHE_BLOCKS = 21_000
LAYOUTS = ("document-first", "instruction-first")


def computed(prompts: list[list[int]]) -> int:
    """Tokens that are not found in the cache, over all prompts in order."""
    cache: OrderedDict[int, None] = OrderedDict()
    total = 0
    for tokens in prompts:
        prefix, hit = 0, True
        for start in range(0, len(tokens) - len(tokens) % BLOCK, BLOCK):
            prefix = hash((prefix, *tokens[start : start + BLOCK]))
            hit = hit and prefix in cache
            if not hit:
                total += BLOCK
            cache[prefix] = None
            cache.move_to_end(prefix)
            if len(cache) > CACHE_BLOCKS:
                cache.popitem(last=False)
        total += len(tokens) % BLOCK
    return total


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--input", type=Path, default=HERE.parents[1] / "demo" / "documents.jsonl")
    parser.add_argument("--tokenizer", type=Path, help="with tokenizer.json; a small one is trained on the prompts")
    options = parser.parse_args()
    result = {}
    with scratch() as folder:
        small = make_tokenizer(folder / "tokenizer", "plain")
        tokenizer = ModelTokenizer(str(options.tokenizer or small))._tokenizer
        for layout in LAYOUTS:
            record = folder / f"{layout}.jsonl"
            # Slots and service times make requests overlap as they do with a real model.
            with server("--slots", 256, "--median", 0.2, "--record", record) as url:
                command = [sys.executable, "pipelines/finephrase.py", "--input", options.input.absolute(), "--server"]
                command += ["endpoint", "--endpoint", url, "--tokenizer", "none", "--prompt-layout", layout]
                command += ["--max-in-flight", 256, "--output", folder / layout]
                done = subprocess.run([*map(str, command)], cwd=HERE.parents[1], capture_output=True, text=True)
            contents = [json.loads(line) for line in record.read_text().splitlines()]
            summary = json.loads((folder / layout / "summary.json").read_text()) if done.returncode == 0 else {}
            if not summary.get("complete") or len(contents) != 4 * summary["read"]:
                raise SystemExit(f"{layout}: the run is incomplete\n{done.stdout}\n{done.stderr}")
            prompts = [encoding.ids for encoding in tokenizer.encode_batch_fast(contents, add_special_tokens=False)]
            one_format = sum(map(len, prompts)) / 4
            result[layout.replace("-", "_")] = round(computed(prompts) / one_format, 3)
            print(f"{layout:18} {len(prompts)} prompts, {one_format:.0f} tokens per format")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
