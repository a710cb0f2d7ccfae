"""Webhooks: what the API server asks of us when objects are created."""
