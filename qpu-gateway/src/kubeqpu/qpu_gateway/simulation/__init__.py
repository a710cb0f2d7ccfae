"""What runs inside a worker: loading, transpiling, simulating, sampling and estimating."""
