"""Providers: what runs circuits for the gateway."""
