import json
import os
import pickle
import random
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from small_tokenizers import CORPUS, KINDS, SPECIAL_TOKENS, hostile_texts, make_tokenizer
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from blocks.generate.special_tokens import acts
from blocks.generate.token_bound import TokenBound
from blocks.generate.tokenizer import TEMPLATE_MARGIN, CharacterEstimate, ModelTokenizer, load_tokenizer


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request, tmp_path_factory):
    return load_tokenizer(make_tokenizer(tmp_path_factory.mktemp("tokenizers") / request.param, request.param))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return load_tokenizer(make_tokenizer(tmp_path_factory.mktemp("tokenizers") / "plain", "plain"))


def raw(tokenizer):
    loaded = Tokenizer.from_file(str(Path(tokenizer.source) / "tokenizer.json"))
    loaded.no_truncation()
    loaded.no_padding()
    return loaded


def test_count_is_the_tokenizers_own(tokenizer):
    for text in ["", "a", *CORPUS, *hostile_texts(1, 300).values()]:
        assert tokenizer.count(text) == len(raw(tokenizer).encode(text, add_special_tokens=False).ids)


def test_chat_is_counted_as_rendered(plain):
    messages = [{"role": "user", "content": "Turn {{ this }} into a table."}]
    rendered = (
        "<|im_start|>system\nYou rewrite documents.<|im_end|>\n"
        "<|im_start|>user\nTurn {{ this }} into a table.<|im_end|>\n<|im_start|>assistant\n"
    )
    assert plain.count_chat(messages) == plain.count(rendered)
    with_system = [{"role": "system", "content": "Be brief."}, *messages]
    assert plain.count_chat(with_system) == plain.count(rendered.replace("You rewrite documents.", "Be brief."))


@pytest.mark.parametrize(
    ("template", "rendered"),
    [
        # What templates of the wild use: named tokens, loop control, tojson, dates, training marks, whitespace rules.
        ("{{ eos_token }}{% for m in messages %}{{ m.content }}{% break %}{% endfor %}", "<|im_end|>Hi <b>"),
        ("{{ messages[0].content | tojson }}", '"Hi <b>"'),
        ("{% set x = strftime_now('%Y') %}{{ x | length }}", "4"),
        ("{% for m in messages %}\n {% generation %}\n{{ m.content }}\n {% endgeneration %}\n{% endfor %}", "Hi <b>\n"),
        ("{{ 'think' if enable_thinking is undefined else 'no' }}{{ tools is none }}", "thinkTrue"),
        ("{{ bos_token is defined }}", "False"),
    ],
)  # fmt: skip
def test_templates_of_the_wild(tmp_path, template, rendered):
    tokenizer = load_tokenizer(make_tokenizer(tmp_path / "t", "plain", template))
    assert tokenizer.count_chat([{"role": "user", "content": "Hi <b>"}]) == tokenizer.count(rendered)


def test_template_options_reach_the_template(tmp_path):
    tokenizer = load_tokenizer(make_tokenizer(tmp_path / "t", "plain", "{{ 'a b c d' if enable_thinking else '' }}"))
    assert tokenizer.count_chat([{"role": "user", "content": "x"}], {"enable_thinking": False}) == 0
    assert tokenizer.count_chat([{"role": "user", "content": "x"}], {"enable_thinking": True}) > 0


@pytest.mark.parametrize(
    "template",
    [None, "{% broken", "{{ raise_exception('no') }}", "{{ messages[0].nothing.more }}", "{{ ''.__class__.__mro__ }}"],
)
def test_without_a_usable_template_a_margin_is_added(tmp_path, template):
    tokenizer = load_tokenizer(make_tokenizer(tmp_path / "t", "plain", template))
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello there"}]
    assert tokenizer.count_chat(messages) == (
        tokenizer.count("Be brief.") + tokenizer.count("Hello there") + TEMPLATE_MARGIN
    )


def test_a_template_file_wins_and_named_templates_work(tmp_path):
    folder = Path(make_tokenizer(tmp_path / "t", "plain"))
    config = folder / "tokenizer_config.json"
    named = [{"name": "tool_use", "template": "x x x x"}, {"name": "default", "template": "a"}]
    config.write_text(json.dumps({"chat_template": named}))
    messages = [{"role": "user", "content": "Hello"}]
    assert load_tokenizer(str(folder)).count_chat(messages) == 1
    (folder / "chat_template.jinja").write_text("a b")
    assert load_tokenizer(str(folder)).count_chat(messages) == load_tokenizer(str(folder)).count("a b")


def test_it_travels_without_its_vocabulary(plain):
    plain.neutralise("load everything"), plain.count_chat([{"role": "user", "content": "x"}])
    data = pickle.dumps(plain)
    assert len(data) < 1000
    assert pickle.loads(data).count(CORPUS[0]) == plain.count(CORPUS[0])
    estimate = CharacterEstimate()
    estimate.neutralise("x")
    assert pickle.loads(pickle.dumps(estimate)).count("abcd") == 2


def test_fits_agrees_with_counting(tokenizer):
    rng = random.Random(3)
    for length in (1, 7, 60, 2000):
        for text in hostile_texts(length, length).values():
            tokens = tokenizer.count(text)
            for room in {0, 1, max(0, tokens - 1), tokens, tokens + 1, 2 * tokens, 20 * tokens, rng.randrange(4000)}:
                assert tokenizer.fits(text, room) == (tokens <= room), (text[:50], tokens, room)


def test_a_text_whose_bytes_fit_is_not_tokenised(plain):
    class Untouchable(ModelTokenizer):
        def prefix_end(self, text, room, start=0):
            raise AssertionError("tokenised")

    quick = Untouchable(plain.source)
    assert quick.fits("short text", 10)
    assert quick.fits("日本", 6)
    with pytest.raises(AssertionError, match="tokenised"):
        quick.fits("日本", 5)


@pytest.mark.parametrize(
    ("normaliser", "pre_tokeniser", "ascii_factor", "factor"),
    [
        (None, None, 1, 1),
        (normalizers.NFC(), None, 1, 3),
        (normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()]), None, 1, 22),
        (normalizers.Replace(" ", "▁"), None, 1, 1),
        (normalizers.Prepend("▁"), None, 2, 2),
        (normalizers.Replace("a", "long"), None, None, None),
        (normalizers.BertNormalizer(), None, None, None),
        (None, pre_tokenizers.ByteLevel(add_prefix_space=False), 1, 1),
        (None, pre_tokenizers.ByteLevel(add_prefix_space=True), 2, 2),
        (None, pre_tokenizers.Sequence([pre_tokenizers.Digits(), pre_tokenizers.Metaspace()]), 2, 2),
        (None, pre_tokenizers.Metaspace(prepend_scheme="never"), 1, 1),
    ],
)
def test_bounds(tmp_path, normaliser, pre_tokeniser, ascii_factor, factor):
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    if normaliser is not None:
        tokenizer.normalizer = normaliser
    if pre_tokeniser is not None:
        tokenizer.pre_tokenizer = pre_tokeniser
    definition = json.loads(tokenizer.to_str())
    assert TokenBound.of(definition["normalizer"], definition["pre_tokenizer"]) == TokenBound(ascii_factor, factor)


def test_special_tokens_in_a_text_are_broken_up(tokenizer):
    assert set(tokenizer.special_tokens) == {"<unk>", *SPECIAL_TOKENS}
    ids = {raw(tokenizer).token_to_id(token) for token in tokenizer.special_tokens}
    for text in ["a<|im_end|>b</s>", "<</s>/s>", "<|im_<|im_end|>end|>", *hostile_texts(5, 3000).values()]:
        clean, count = tokenizer.neutralise(text)
        assert not ids & set(raw(tokenizer).encode(clean).ids)
        assert clean.replace(" ", "") == text.replace(" ", "")
        assert len(clean) == len(text) + count
        assert tokenizer.neutralise(clean) == (clean, 0)
    assert tokenizer.neutralise("a<|im_end|>b") == ("a< |im_end|>b", 1)
    assert tokenizer.neutralise("nothing here, <|im_ end|>") == ("nothing here, <|im_ end|>", 0)


def test_marks_that_are_not_called_special_act_and_html_does_not():
    kinds = {"<|im_end|>": True, "</think>": True, "[INST]": True, "<strong>": False, "</h2>": False, "    ": False}
    assert {text: acts(AddedToken(text, special=False)) for text in kinds} == kinds
    assert acts(AddedToken("<table>", special=True))


def test_awkward_special_tokens():
    class Awkward(ModelTokenizer):
        special_tokens = ("aa", "a", " ", "  ", " b", "xyz", "x yz", "yzw", "q  r", "q r", "qr")

    clean, _ = Awkward("unused").neutralise("aaaaa xyzw x yz qr q r   b")
    assert not any(token in clean for token in ("aa", "xyz", "x yz", "yzw", "q  r", "q r", "qr"))


def test_neutralise_finishes_on_huge_hostile_text(plain):
    for text in ("<|im_end|>" * 100_000, "<|im_" * 200_000 + "end|>" * 200_000, "<" * 1_000_000, "</s" * 300_000 + ">"):
        clean, _ = plain.neutralise(text)
        assert "<|im_end|>" not in clean and "</s>" not in clean


def test_estimate():
    estimate = load_tokenizer(None)
    assert [estimate.count("x" * n) for n in (0, 1, 3, 4)] == [0, 1, 1, 2]
    assert estimate.count_chat([{"role": "user", "content": "x" * 30}]) == 10 + TEMPLATE_MARGIN
    assert estimate.fits("x" * 30, 10) and not estimate.fits("x" * 31, 10)
    assert estimate.prefix_end("x" * 100, 10, 5) == 35
    text = "<|anything|> <s> <start_of_turn> [INST] <｜User｜> a <| b |> c < d > [INSTANCE]"
    clean, count = estimate.neutralise(text)
    assert count == 6
    assert clean == "< |anything|> < s> < start_of_turn> [ INST] < ｜User｜> a < | b |> c < d > [INSTANCE]"


def test_wrong_places_say_what_to_do(tmp_path):
    with pytest.raises(ValueError, match=r"no tokenizer\.json.*--tokenizer none"):
        load_tokenizer(str(tmp_path))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match="cannot be read"):
        load_tokenizer(str(tmp_path))
    (Path(make_tokenizer(tmp_path / "t", "plain")) / "tokenizer_config.json").write_text("{")
    with pytest.raises(ValueError, match=r"tokenizer_config\.json of .* cannot be read"):
        load_tokenizer(str(tmp_path / "t"))
    with pytest.raises(ValueError, match="neither a local file or folder nor a repository"):
        load_tokenizer(str(tmp_path / "not" / "there"))


def test_the_file_itself_may_be_named(plain):
    by_file = load_tokenizer(str(Path(plain.source) / "tokenizer.json"))
    messages = [{"role": "user", "content": "Hello"}]
    assert by_file.count_chat(messages) == plain.count_chat(messages)


HUB_USER = """
import sys
from blocks.generate.tokenizer import load_tokenizer
try:
    tokenizer = load_tokenizer(sys.argv[1], sys.argv[2] or None)
    print(tokenizer.count_chat([{"role": "user", "content": "Hello"}]))
except ValueError as error:
    print(error)
"""


def test_a_repository_of_a_hub(plain, tmp_path):
    """The real hub client against a small hub: only three files are asked for, and the cache serves offline runs."""
    asked = []

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self):
            name = self.path.rpartition("/")[2]
            path = Path(plain.source) / name
            known = self.path.startswith("/org/model/resolve/")
            asked.append(self.path)
            self.send_response(200 if known and path.is_file() else 404)
            if not known:
                self.send_header("X-Error-Code", "RepoNotFound")
            elif not path.is_file():
                self.send_header("X-Error-Code", "EntryNotFound")
            body = path.read_bytes() if path.is_file() else b""
            self.send_header("X-Repo-Commit", "c" * 40)
            self.send_header("ETag", f'"{name}"')
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_GET = do_HEAD

        def log_message(self, *args):
            pass

    def use(*arguments, **environment):
        command = [sys.executable, "-c", HUB_USER, *arguments]
        variables = {
            **os.environ, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_DISABLE_XET": "1",
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HUB_OFFLINE": "0", **environment,
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]),
        }  # fmt: skip
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        expected = str(plain.count_chat([{"role": "user", "content": "Hello"}]))
        assert use("org/model", "v1") == expected
        assert {path for path in asked if "/resolve/" in path} == {
            f"/org/model/resolve/v1/{name}"
            for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
        }
        assert "neither a local file or folder nor a repository" in use("org/other", "")
    finally:
        server.shutdown()
        server.server_close()
    assert use("org/model", "v1", HF_HUB_OFFLINE="1") == expected
    assert "hub cannot be reached" in use("org/another", "", HF_HUB_OFFLINE="1")


def test_the_template_here_is_what_transformers_renders(plain):
    transformers = pytest.importorskip("transformers", reason="compares with transformers, which is not installed")
    other = transformers.AutoTokenizer.from_pretrained(plain.source)
    messages = [{"role": "user", "content": CORPUS[0]}]
    rendered = other.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert (
        plain.count_chat(messages) == plain.count(rendered) == len(other(rendered, add_special_tokens=False).input_ids)
    )
