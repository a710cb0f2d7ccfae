"""Gates: work that asks for a QPU waits at one until a QPU fits."""
