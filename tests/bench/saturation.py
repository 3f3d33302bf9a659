"""How much of the model's time is used: slots in use between the first fill and the last admission.

    python tests/bench/saturation.py [--documents 16000]

The server has 256 slots and log-normal service times (median 0.5 s, σ 0.5); 1 % of the requests take 10 times the
median, one takes 40 s (finemill's timeout is 20 s, the stock runner has none), and closing a shard of 2,000 documents
takes 3 s. The last line is JSON: the share of slot-time in use, for finemill and for datatrove's stock runner with
checkpoints.
"""

from __future__ import annotations

import argparse
import json
import urllib.request

from common import run_client, scratch, server, write_documents

SLOTS = 256
SERVER = ("--slots", SLOTS, "--median", 0.5, "--sigma", 0.5, "--stragglers", 0.01, "--hang", 40)
CLIENT = ("--in-flight", SLOTS, "--chunk-size", 2000, "--close-seconds", 3, "--timeout", 20)


def occupancy(history: list[tuple[float, int]]) -> float:
    """Mean share of busy slots from the first time that most are busy to the last time that one is taken.

    Most are all of them, unless the machine is too busy for that.
    """
    most = max(busy for _, busy in history)
    first = next(i for i, (_, busy) in enumerate(history) if busy == most)
    last = max(i for i in range(1, len(history)) if history[i][1] > history[i - 1][1])
    used = sum(history[i][1] * (history[i + 1][0] - history[i][0]) for i in range(first, last))
    return used / (SLOTS * (history[last][0] - history[first][0]))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int, default=16000)
    options = parser.parse_args()
    shares = {}
    with scratch() as folder:
        source = write_documents(folder / "documents.jsonl", options.documents)
        for name in ("finemill", "datatrove_checkpoints"):
            with server(*SERVER) as url:
                result = run_client(name, url, source, folder / name, *CLIENT)
                with urllib.request.urlopen(f"{url}/stats") as response:
                    stats = json.load(response)
            if result["documents"] != options.documents:
                raise SystemExit(f"{name} delivered {result['documents']} of {options.documents} documents")
            shares[name] = occupancy(stats["history"])
            print(f"{name:22} {100 * shares[name]:6.2f} % of slot-time in use, {result['seconds']:6.1f} s in all")
    print(json.dumps({"occupancy": shares["finemill"], "occupancy_datatrove": shares["datatrove_checkpoints"]}))


if __name__ == "__main__":
    main()
