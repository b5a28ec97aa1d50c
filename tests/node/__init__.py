"""A real Kubernetes node on this machine: kubelet, containerd and a pod network in a network namespace of its own.

The control plane of tests/control_plane runs in the same namespace, so that no packet of a test leaves it; a relay makes
the API server and Redis reachable from outside by the loopback. `python -m tests.node` starts one until Ctrl-C.

What such a node does not show: the base image may be a stand-in for python:3.12-slim (hack/images/base.sh); there is no
cluster DNS and no NetworkPolicy, and only the `kubernetes` Service has an address that leads somewhere; without
CAP_SYS_RESOURCE the kernel chooses among pods by other scores than on a usual node when the node itself runs out of
memory (limits of containers are exact).
"""
