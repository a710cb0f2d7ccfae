"""Offers a node's QPU slots to its kubelet, and tells gateways who holds them."""
