"""Slots: on which nodes they live, who holds them, and what that allows."""
