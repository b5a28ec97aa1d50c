"""Start a control plane until Ctrl-C: `python -m tests.control_plane`."""

from __future__ import annotations

import signal
import sys
import tempfile
from pathlib import Path

from tests.control_plane.binaries import MissingBinariesError
from tests.control_plane.plane import ControlPlane

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="pp-control-plane-") as folder:
        try:
            plane = ControlPlane(Path(folder))
        except MissingBinariesError as error:
            print(f"control plane: {error}", file=sys.stderr)
            return 2
        with plane:
            plane.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
            print(f"export KUBECONFIG={plane.kubeconfig}", flush=True)
            print("the control plane runs, with KWOK nodes and our resource; Ctrl-C ends it", file=sys.stderr)
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            try:
                signal.pause()
            except KeyboardInterrupt:
                print("ending", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
