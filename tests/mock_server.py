"""A scripted model server, a process of its own: what it answers depends on the request alone.

    python tests/mock_server.py --log requests.jsonl [--latency 0.05] [--port 0]

It prints its URL. Every answer is about the document it was asked about, and is written to the log (time, status, hash
of the body) just before it is sent. Markers in a prompt script what happens:

    MOCK-STATUS-<code>     answer with this HTTP status, always
    MOCK-ONCE-<code>       … the first time this body is asked, 200 afterwards
    MOCK-FINISH-<reason>   finish reason, such as length
    MOCK-SAY-<word>        the answer: echo, or one of SAYINGS
    MOCK-SCORE-<score>     what a judge says, instead of a score that depends on the text; none for no score at all
    MOCK-HANG              never answer
    MOCK-FLAG              what a moderation endpoint flags
    MOCK-CLOSE             close the connection in the middle of the answer's body
    MOCK-GARBAGE           answer 200 with something that is no JSON
    MOCK-BROKEN            close it for every other body, MOCK-BROKEN-ALL for all, until the file --mended exists
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time
from pathlib import Path
from typing import Any

import xxhash
from aiohttp import web
from instructor import instruct
from writer import write

SAYINGS = {
    "empty": "  \n",
    "fence": "Sure! Here is the FAQ:\n\n```markdown\nWhat is it?\nA thing.\n```",
    "refusal": "I'm sorry, but I cannot help with that request.",
    "table": (
        "| Lighthouse | Built | Height (m) |\n|---|---|---:|\n| Bell Rock | 1810 | 35 |\n| Eddystone | 1882 | 49 |\n\n"
        "**Question:** Which of the two lighthouses is higher?\n\n"
        "**Answer:** Eddystone is the higher one, with 49 m against the 35 m of Bell Rock."
    ),
    "torn": "| Lighthouse | Built |\n|---|---|\n| Bell Rock | 1810 | 35 |\n\nQuestion: Which one?\nAnswer: Bell Rock.",
    "tagged": "<analysis>\nIt goes into <rewrite> tags.\n</analysis>\n\n<rewrite>\nA better text.\n</rewrite>\nDone.",
    "address": "Write to jane.doe@company.org or look at 203.0.114.7 for more.",
    "verdict0": "It is wrong. [[0]]",
    "rating": "It is fair. Rating: [[7]]",
    "verdict1": "It is right. [[1.0]]",
    "think": "<think>Let me see.</think>The answer of a thinker.",
}


def judge(prompt: str) -> str:
    """An answer in the Flow Judge format; the score, 1 to 3, depends on what is judged."""
    output = prompt.partition("<output>")[2].partition("</output>")[0]
    scripted = re.search(r"MOCK-SCORE-(\w+)", output)
    levels = 5 if "- Score 5" in prompt and "<instruction>" in prompt else 3
    score = scripted[1] if scripted else str(1 + xxhash.xxh3_64_intdigest(output.encode()) % levels)
    quoted = " It names 203.0.114.7." if "203.0.114.7" in output else ""
    feedback = f"<feedback>\nIt has {len(output.split())} words.{quoted}\n</feedback>"
    return feedback if score == "none" else f"{feedback}\n<score>\n{score}\n</score>"


def go_on(prompt: str, digest: str) -> str:
    """How a text goes on: other words, in a few cases hardly any."""
    if digest[0] == "0":
        return "The end."
    words = prompt.split()
    said = [words[int(xxhash.xxh3_64_hexdigest(f"{digest}{n}".encode()), 16) % len(words)] for n in range(60)]
    return f"{' '.join(said)}."


class Mock:
    def __init__(self, log: str, latency: float, models: list[str], key: str | None, prefix: str) -> None:
        self.log = Path(log) if log else None
        self.latency, self.models, self.key, self.prefix = latency, models, key, prefix
        self.seen: set[str] = set()
        self.quote_key = False
        self.mended = Path("never")
        self.writes = self.instructs = self.completes = self.hides_usage = False
        self.by_rules = False
        self.context = 0
        self.known: list[str] = []

    def note(self, status: int, digest: str, body: dict[str, Any], usage: dict[str, int] | None = None) -> None:
        if self.log:
            fields = {name: value for name, value in body.items() if name not in ("messages", "prompt")}
            entry = {"at": time.time(), "status": status, "hash": digest, "fields": fields, "usage": usage}
            with self.log.open("a") as file:
                file.write(json.dumps(entry) + "\n")

    async def list_models(self, request: web.Request) -> web.Response:
        if refused := self.refuse_key(request):
            return refused
        told = {"max_model_len": self.context} if self.context else {}
        return web.json_response({"data": [{"id": name, "object": "model", **told} for name in self.models]})

    def refuse_key(self, request: web.Request) -> web.Response | None:
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.json_response({"error": {"message": "invalid api key"}}, status=401)
        return None

    async def moderate(self, request: web.Request) -> web.Response:
        flagged = "MOCK-FLAG" in (await request.json())["input"]
        return web.json_response(
            {"results": [{"flagged": flagged, "categories": {"violence": flagged, "hate": False}}]}
        )

    async def complete(self, request: web.Request) -> web.StreamResponse:
        if refused := self.refuse_key(request):
            return refused
        if self.quote_key:
            message = f"no access with {request.headers.get('Authorization')}"
            return web.json_response({"error": {"message": message}}, status=401)
        raw = await request.read()
        body = json.loads(raw)
        digest = xxhash.xxh3_64_hexdigest(raw)
        if body["model"] not in self.models:
            return web.json_response({"error": {"message": f"no model {body['model']}"}}, status=404)
        prompt = body["messages"][-1]["content"] if "messages" in body else body["prompt"]
        first, self.seen = digest not in self.seen, self.seen | {digest} if "MOCK-ONCE" in prompt else self.seen
        if self.latency:
            await asyncio.sleep(self.latency * (0.5 + int(digest[:4], 16) / 0xFFFF))
        status = re.search(r"MOCK-STATUS-(\d+)", prompt) or (first and re.search(r"MOCK-ONCE-(\d+)", prompt))
        if status:
            self.note(int(status[1]), digest, body)
            headers = {"Retry-After": "1"} if status[1] == "429" else {}
            message = "This model's maximum context length is 8192 tokens" if "CONTEXT" in prompt else "scripted error"
            return web.json_response({"error": {"message": message}}, status=int(status[1]), headers=headers)
        if "MOCK-HANG" in prompt:
            await asyncio.sleep(3600)
        broken = "MOCK-BROKEN-ALL" in prompt or ("MOCK-BROKEN" in prompt and int(digest[0], 16) % 2)
        broken = broken and not self.mended.exists()
        if broken:
            self.note(500, digest, body)
        if "MOCK-GARBAGE" in prompt:
            return web.Response(text="<html>not json")
        if broken or "MOCK-CLOSE" in prompt:
            response = web.StreamResponse(headers={"Content-Length": "1000"})
            await response.prepare(request)
            await response.write(b'{"choices": [')
            assert request.transport is not None
            request.transport.abort()
            return response
        saying = re.search(r"MOCK-SAY-(\w+)", prompt)
        reason, said = "stop", {}
        if self.instructs and (answered := instruct(prompt, self.by_rules)):
            text, said = answered.text, {"kind": answered.kind}
        elif self.completes:
            known = [text for text in self.known if text.startswith(prompt)]
            text = known[0][len(prompt) :] if known else go_on(prompt, digest)
        elif self.writes:
            text, reason, name, fault = write(prompt)
            said = {"format": name, "fault": fault}
        elif "<scoring_rubric>" in prompt:
            text = judge(prompt)
        elif saying:
            text = prompt if saying[1] == "echo" else SAYINGS[saying[1]]
        else:
            text = f"Answer {digest}: {prompt[-40:]}"
        finish = re.search(r"MOCK-FINISH-(\w+)", prompt)
        usage = {"prompt_tokens": len(prompt) // 4, "completion_tokens": len(text) // 4}
        self.note(200, digest, body | said, usage)
        content = {"message": {"role": "assistant", "content": text}} if "messages" in body else {"text": text}
        return web.json_response(
            {
                "choices": [{"index": 0, "finish_reason": finish[1] if finish else reason, **content}],
                "usage": None if self.hides_usage else usage,
            }
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", default="")
    parser.add_argument("--latency", type=float, default=0.0, help="mean seconds; the spread depends on the request")
    parser.add_argument("--models", default="mock")
    parser.add_argument("--key", default=None)
    parser.add_argument("--prefix", default="/v1")
    parser.add_argument("--quote-key", action="store_true", help="refuse completions, quoting the key")
    parser.add_argument("--writes", action="store_true", help="write whole answers to documents of tests/writer.py")
    parser.add_argument("--instructs", action="store_true", help="answer FineInstructions as tests/instructor.py does")
    parser.add_argument("--by-rules", action="store_true", help="with --instructs: what a student can learn")
    parser.add_argument("--completes", action="store_true", help="go on with the text of a prompt")
    parser.add_argument("--knows", type=Path, help="JSON Lines whose texts it knows by heart, for --completes")
    parser.add_argument("--hides-usage", action="store_true", help="do not tell how many tokens an answer took")
    parser.add_argument("--context", type=int, default=0, help="tell this as max_model_len, as vLLM does")
    parser.add_argument("--mended", type=Path, default=Path("never"), help="file that ends MOCK-BROKEN")
    options = parser.parse_args()

    async def serve() -> None:
        mock = Mock(options.log, options.latency, options.models.split(","), options.key, options.prefix)
        mock.instructs, mock.completes = options.instructs, options.completes
        if options.knows:
            mock.known = [json.loads(line)["text"] for line in options.knows.read_text().splitlines()]
        mock.hides_usage, mock.by_rules = options.hides_usage, options.by_rules
        mock.context = options.context
        mock.quote_key, mock.writes, mock.mended = options.quote_key, options.writes, options.mended
        app = web.Application(client_max_size=1 << 30)
        app.router.add_get(f"{options.prefix}/models", mock.list_models)
        app.router.add_post(f"{options.prefix}/chat/completions", mock.complete)
        app.router.add_post(f"{options.prefix}/completions", mock.complete)
        app.router.add_post(f"{options.prefix}/moderations", mock.moderate)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", options.port, backlog=4096)
        await site.start()
        print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
        await asyncio.Event().wait()

    asyncio.run(serve())


if __name__ == "__main__":
    main()
