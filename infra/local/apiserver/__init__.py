"""A real kube-apiserver and kube-controller-manager, compiled from Debian's source package.

    python -m infra.local.apiserver build
    python -m infra.local.apiserver run --state DIRECTORY

What it is: Kubernetes 1.20.2 as Debian bookworm has it, with Debian's etcd, for tests that must not rest on
the in-memory API server alone. Everything comes from the Debian archive that this machine's apt is set up
for; nothing is installed, so root is not needed, and the binaries are kept in the user's cache directory.

What it leaves out: nodes. There is no scheduler and no kubelet, so pods stay Pending, and `logs`, `exec`
and `port-forward` have nobody to ask. This version has no OpenAPI v3 and no aggregated discovery.
"""
