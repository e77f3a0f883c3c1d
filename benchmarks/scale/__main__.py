"""All that is measured past one machine, one after another: about 20 minutes on two quiet cores.

example:
  python -m benchmarks.scale
"""

import subprocess
import sys

for name in ("shards", "ray_job", "ray_search", "postgres"):
    print(f"\n## {name}", flush=True)
    subprocess.run([sys.executable, "-m", f"benchmarks.scale.{name}"], check=True)
