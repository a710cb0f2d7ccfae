"""Migrations of the gateway's database, run when the gateway starts."""
