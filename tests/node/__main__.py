"""Start a cluster of one real node until Ctrl-C: `python -m tests.node` (root)."""

from __future__ import annotations

import signal
import sys
import tempfile
from pathlib import Path

from tests.node.cluster import ROOT, Cluster, build_images
from tests.node.host import obstacle


def main() -> int:
    if reason := obstacle():
        print(f"cluster: {reason}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        images = build_images()
    except RuntimeError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="pp-cluster-") as folder, Cluster(Path(folder), images) as cluster:
        cluster.plane.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
        print(f"export KUBECONFIG={cluster.plane.kubeconfig}", flush=True)
        note = (
            f"Redis: 127.0.0.1:{cluster.redis_port} from here, {cluster.redis_host}:6379 from pods; Ctrl-C ends it all"
        )
        print(f"the cluster runs, with our images of version 0.1.0\n{note}", file=sys.stderr)
        try:
            signal.pause()
        except KeyboardInterrupt:
            print("ending", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
