"""A real Kubernetes control plane on this machine's loopback: for tests, for benchmarks, and to try things by hand.

etcd, kube-apiserver, kube-controller-manager, kube-scheduler, and KWOK for nodes that cost nothing. All are children of
the process that asked for them and end with it. `python -m tests.control_plane` starts one until Ctrl-C.
"""
