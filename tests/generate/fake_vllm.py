"""A stand-in for the program `vllm`: same command line, same HTTP, same way of being several processes, no model.

What a real server does now and then is asked for in the environment:

- `FAKE_VLLM_START=2`: needs 2 seconds before it listens.
- `FAKE_VLLM_CRASH=words`: prints the words at the start and exits with code 3.
- `FAKE_VLLM_NOISE=1`: prints a line of 100 kB and bytes that are not UTF-8.
- `FAKE_VLLM_DIE_AFTER=2`: exits without notice after 2 answers, and leaves its other process behind.
- `FAKE_VLLM_HANG_AFTER=2`: after 2 answers it goes on saying that it is healthy and answers nothing else.
- `FAKE_VLLM_SILENT=1`: tells no metrics.
- `FAKE_VLLM_LATENCY=0.5`: takes half a second for an answer, four at a time.
- `FAKE_VLLM_ANSWERS=FILE`: appends a line with the time of each answer.
- `FAKE_VLLM_PIDS=FILE`: appends a line with the pids of the server and of its other process.
"""

import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

METRICS = """# HELP vllm:prompt_tokens_total Number of prefill tokens processed.
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{{engine="0",model_name="{model}"}} {answered}.0
# HELP vllm:generation_tokens_total Number of generation tokens processed.
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{{engine="0",model_name="{model}"}} {answered}.0
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{{engine="0",model_name="{model}"}} 7.0
"""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two packets: the second would wait 40 ms
    model = ""
    answered = 0
    lock = threading.Lock()
    slots = threading.Semaphore(4)
    latency = float(os.environ.get("FAKE_VLLM_LATENCY", 0))

    def log_message(self, format, *args):
        pass

    def reply(self, value):
        self.reply_text(json.dumps(value))

    def reply_text(self, text):
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def do_GET(self):
        if self.path == "/metrics" and "FAKE_VLLM_SILENT" not in os.environ:
            self.reply_text(METRICS.format(model=self.model, answered=Handler.answered))
        else:
            self.reply({"data": [{"id": self.model}]} if self.path == "/v1/models" else {})

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if Handler.answered >= int(os.environ.get("FAKE_VLLM_HANG_AFTER", sys.maxsize)):
            time.sleep(600)
        if self.latency:
            with self.slots:
                time.sleep(self.latency)
        asked = request["messages"][-1]["content"] if "messages" in request else request["prompt"]
        words = asked[-60:].upper()
        said = {"message": {"role": "assistant", "content": words}} if "messages" in request else {"text": words}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        choices = [{"index": 0, **said, "finish_reason": "stop"}]
        self.reply({"model": request["model"], "choices": choices, "usage": usage})
        with Handler.lock:
            Handler.answered += 1
            if "FAKE_VLLM_ANSWERS" in os.environ:
                with Path(os.environ["FAKE_VLLM_ANSWERS"]).open("a") as file:
                    file.write(f"{time.time()}\n")
            if Handler.answered >= int(os.environ.get("FAKE_VLLM_DIE_AFTER", sys.maxsize)):
                os._exit(1)


def main():
    print("fake vllm", *sys.argv[1:], flush=True)
    if "FAKE_VLLM_NOISE" in os.environ:
        sys.stdout.buffer.write(b"x" * 100_000 + b"\n\xff\xfe\x80 not text\n")
        sys.stdout.flush()
    if "FAKE_VLLM_CRASH" in os.environ:
        print(os.environ["FAKE_VLLM_CRASH"], file=sys.stderr, flush=True)
        sys.exit(3)
    arguments = sys.argv[1:]
    Handler.model = arguments[arguments.index("--served-model-name") + 1]
    engine = subprocess.Popen(["sleep", "600"])
    if "FAKE_VLLM_PIDS" in os.environ:
        with Path(os.environ["FAKE_VLLM_PIDS"]).open("a") as file:
            file.write(f"{os.getpid()} {engine.pid}\n")
    time.sleep(float(os.environ.get("FAKE_VLLM_START", 0)))
    port = int(arguments[arguments.index("--port") + 1])
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main()
