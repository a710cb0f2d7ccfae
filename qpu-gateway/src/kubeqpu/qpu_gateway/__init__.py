"""The gateway: queues circuits durably and runs them on QPUs and simulators."""
