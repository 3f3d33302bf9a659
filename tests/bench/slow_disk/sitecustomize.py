"""Makes a folder behave like a file system with latency: every operation on a path below it takes its time.

Python imports this module at start when its folder is on PYTHONPATH; SLOW_DISK_FOLDER and SLOW_DISK_SECONDS say where
and how slow. It covers what the standard library's file functions go through; reads of an open file are not slowed.
"""

import builtins
import io
import os
import time

FOLDER = os.environ.get("SLOW_DISK_FOLDER", "")
SECONDS = float(os.environ.get("SLOW_DISK_SECONDS", "0"))


def slowed(function):
    def call(path, *arguments, **options):
        if isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(FOLDER):
            time.sleep(SECONDS)
        return function(path, *arguments, **options)

    return call


if FOLDER and SECONDS:
    for name in (
        "open",
        "stat",
        "lstat",
        "scandir",
        "listdir",
        "mkdir",
        "unlink",
        "link",
        "rename",
        "replace",
        "rmdir",
    ):
        setattr(os, name, slowed(getattr(os, name)))
    builtins.open = io.open = slowed(io.open)
