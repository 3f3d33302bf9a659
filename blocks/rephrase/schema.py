"""Columns of a rephrased sample, ready to train on: `text` is the synthetic text.

The source document stands in it only where a prompt joins the answer to it (`joined` in its front matter).
"""

from __future__ import annotations

import pyarrow as pa

REPHRASED_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),  # {source_id}/{format} or {source_id}/{piece}/{format}
        pa.field("text", pa.string(), nullable=False),
        pa.field("format", pa.string(), nullable=False),
        pa.field("source_id", pa.string(), nullable=False),
        pa.field("source_dataset", pa.string()),
        pa.field("source_hash", pa.string(), nullable=False),  # xxh3-64 of the source's UTF-8 text, hex
        pa.field("source_tokens", pa.int32()),  # null where it did not have to be counted
        pa.field("input_cut", pa.bool_(), nullable=False),  # the model saw only the beginning of the document
        pa.field("piece", pa.int32(), nullable=False),
        pa.field("pieces", pa.int32(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("prompt_hash", pa.string(), nullable=False),
        pa.field("prompt_variant", pa.string()),
        pa.field("model", pa.string(), nullable=False),
        pa.field("model_revision", pa.string()),
        # Sampling as it was sent; null was left to the model's generation config.
        pa.field("temperature", pa.float64()),
        pa.field("top_p", pa.float64()),
        pa.field("top_k", pa.int32()),
        pa.field("max_tokens", pa.int32()),
        pa.field("seed", pa.int64()),
        pa.field("prompt_tokens", pa.int32()),
        pa.field("completion_tokens", pa.int32()),
        pa.field("finish_reason", pa.string()),
        pa.field("reasoning", pa.string()),
        pa.field(
            "checks",
            pa.list_(pa.struct([("check", pa.string()), ("value", pa.float64()), ("verdict", pa.string())])),
        ),
        pa.field("judge_score", pa.float64()),
        pa.field("judge_feedback", pa.string()),
    ]
)
