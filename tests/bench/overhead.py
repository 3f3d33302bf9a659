"""What the client costs beside the model: documents per second against a server that answers at once.

    python tests/bench/overhead.py [--rounds 3] [--documents 2000 10000] [--in-flight 64 256]

All clients take turns within each round, on the same machine and server, so their ratios mean something where absolute
numbers do not. The last line is JSON: ratios of documents per second and of client CPU per document, medians over all
settings of the medians over rounds.
"""

from __future__ import annotations

import argparse
import json
from statistics import median

from common import run_client, scratch, server, write_documents

CLIENTS = ("floor", "openai", "datatrove", "datatrove_checkpoints", "finemill", "finemill_counting")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--documents", type=int, nargs="+", default=[2000, 10000])
    parser.add_argument("--in-flight", type=int, nargs="+", default=[64, 256])
    options = parser.parse_args()
    ratios: dict[str, list[float]] = {}
    with scratch() as folder:
        for count in options.documents:
            source = write_documents(folder / f"documents-{count}.jsonl", count)
            for in_flight in options.in_flight:
                rates: dict[str, list[float]] = {name: [] for name in CLIENTS}
                costs: dict[str, list[float]] = {name: [] for name in CLIENTS}
                for round_number in range(options.rounds):
                    for name in CLIENTS:
                        work = folder / f"{name}-{count}-{in_flight}-{round_number}"
                        with server() as url:
                            result = run_client(name, url, source, work, "--in-flight", in_flight)
                        if result["documents"] != count:
                            raise SystemExit(f"{name} delivered {result['documents']} of {count} documents")
                        rates[name].append(count / result["seconds"])
                        costs[name].append(1e6 * result["cpu_seconds"] / count)
                print(f"\n{count} documents of 3 kB, {in_flight} in flight, median of {options.rounds}")
                for name in CLIENTS:
                    print(
                        f"  {name:22} {median(rates[name]):8.0f} documents/s {median(costs[name]):8.0f} µs CPU/document"
                    )

                def rate(name: str, other: str, rates: dict[str, list[float]] = rates) -> float:
                    return median(rates[name]) / median(rates[other])

                for key, value in (
                    ("ratio_vs_datatrove_checkpoints", rate("finemill", "datatrove_checkpoints")),
                    ("ratio_vs_datatrove", rate("finemill", "datatrove")),
                    ("ratio_vs_openai", rate("finemill", "openai")),
                    ("cpu_vs_floor", median(costs["finemill"]) / median(costs["floor"])),
                    ("with_counting_vs_datatrove_checkpoints", rate("finemill_counting", "datatrove_checkpoints")),
                ):
                    ratios.setdefault(key, []).append(value)
    print()
    print(json.dumps({key: round(median(values), 2) for key, values in ratios.items()}))


if __name__ == "__main__":
    main()
