"""Holds work until a QPU can really serve it, and watches over the QPUs' health."""
