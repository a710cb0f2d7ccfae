"""Circuit cutting over the gateway."""
