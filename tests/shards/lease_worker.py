"""One of several processes that work on one run: `python -m tests.shards.lease_worker RUN`."""

import sys
import time
from dataclasses import replace

from blocks.shards.folder import RunFolder, TakenOver
from tests.shards.steps import Echo, execute


def main() -> None:
    folder = replace(RunFolder.at(sys.argv[1]), shared=True)
    while True:
        try:
            execute(folder, 5, [Echo(before=lambda _: time.sleep(0.04))])
            return
        except TakenOver:  # as a worker process does it
            print("taken over", flush=True)


if __name__ == "__main__":
    main()
