"""The kubelet's device plugins, v1beta1."""
