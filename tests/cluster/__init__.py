"""A real Kubernetes cluster on one Linux machine, for the project's own tests.

``python -m tests.cluster`` is the command line; `tests.cluster.cluster.Cluster` is the library.
How it works and how to debug it: docs/contributing/cluster.md.
"""
