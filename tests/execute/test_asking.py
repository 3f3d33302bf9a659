"""What the options of a script mean for the steps that ask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from blocks.execute.asking import asking, model_of, pace
from blocks.generate.generate import PATIENCE
from blocks.generate.model import choose_model
from blocks.generate.prompts import load_prompts
from blocks.judge.choose import choose_judge
from blocks.rephrase.rephrase import Rephrase
from tests.conftest import MockServer
from tests.generate.small_tokenizers import make_tokenizer

OPTIONS: dict[str, Any] = {
    "max_in_flight": None,
    "workers": 1,
    "max_failure_rate": 0.05,
    "request_timeout": 60.0,
    "extra_body": None,
}


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A model in a folder."""
    return make_tokenizer(tmp_path / "model", "plain")


def test_a_restart_may_take_as_long_as_a_start(folder: str) -> None:
    model = choose_model("vllm", folder, None, server_options={"start_timeout": 7200})
    step = Rephrase(load_prompts("faq"), **asking(model, model.at, OPTIONS))
    assert step.patience > 7200
    quick = choose_model("vllm", folder, None, server_options={"start_timeout": 60})
    assert pace(quick, quick.at, OPTIONS)["patience"] == PATIENCE


def test_the_server_is_started_for_what_is_asked(tmp_path: Path, folder: str) -> None:
    """Nobody has to know what vLLM refuses."""
    options = dict.fromkeys(["revision", "endpoint", "api_key_env", "tokenizer", "context", "price", "max_spending"])
    options |= {"server": "vllm", "model": folder, "server_options": None, "extra_body": '{"min_p": 0.05}'}
    server = model_of(options, tmp_path).server
    assert server is not None and server.options["speculative_config"] is None
    judge = choose_judge("faithfulness", model=folder, context=8192, extra_body={"min_p": 0.05}).model.server
    assert judge is not None and judge.options["speculative_config"] is None


def test_an_endpoint_is_waited_for_as_ever(mock: MockServer) -> None:
    model = choose_model("endpoint", None, None, url=mock.url, tokenizer="none")
    assert pace(model, model.at, OPTIONS)["patience"] == PATIENCE
