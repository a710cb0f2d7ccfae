"""The kubelet's pod resources, v1."""
