"""The gRPC contracts of kubeqpu and their generated stubs."""
