"""The gateway in a Kubernetes cluster: its QPUs as objects, its callers as ServiceAccounts."""
