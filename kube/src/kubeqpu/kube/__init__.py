"""Objects at the Kubernetes API server, for every component that speaks to one."""
