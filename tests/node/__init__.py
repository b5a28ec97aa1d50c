"""A real Kubernetes node on this machine: kubelet, containerd and a pod network in a network namespace of its own.

The control plane of tests/control_plane runs in the same namespace, so that no packet of a test leaves it; a relay makes
the API server and Redis reachable from outside by the loopback. `python -m tests.node` starts one until Ctrl-C.
"""
