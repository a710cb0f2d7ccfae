"""Client of the kubeqpu gateway."""
