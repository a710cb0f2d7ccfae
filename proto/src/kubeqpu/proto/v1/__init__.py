"""Messages and services of `kubeqpu.v1`."""
