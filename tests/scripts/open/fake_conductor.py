"""In the place of the process that reads: fake_conductor.py SCRIPTS FOLDER STATE …, a script for each start."""

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

scripts, folder, state = map(Path, sys.argv[1:4])
signal.signal(signal.SIGINT, signal.SIG_IGN)
starts = state / "starts"
number = int(starts.read_text()) if starts.exists() else 0
starts.write_text(str(number + 1))
(state / "arguments.json").write_text(json.dumps([sys.argv[4:], os.getpid()]))
plays = json.loads(scripts.read_text())
for what, its in plays[min(number, len(plays) - 1)]:
    if what == "say":
        print(json.dumps(its), flush=True)  # noqa: T201
    elif what == "write":
        sys.stdout.write(its)
        sys.stdout.flush()
    elif what == "index":
        shutil.rmtree(state / "index", ignore_errors=True)
        shutil.copytree(its, state / "index")
    elif what == "wait for":
        while not Path(its).exists():
            time.sleep(0.02)
    elif what == "fail":
        sys.exit(its)
sys.stdin.buffer.read()
time.sleep(float(os.environ.get("TAKES_S", 0)))
(state / "in order").touch()
