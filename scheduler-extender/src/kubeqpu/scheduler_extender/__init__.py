"""Scores nodes by the QPUs whose slots they have, and says why."""
