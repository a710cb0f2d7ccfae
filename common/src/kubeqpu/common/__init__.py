"""What every kubeqpu component shares: names, settings, logs, metrics, placement."""
