"""The kubelet's own contracts: device plugins and pod resources."""
