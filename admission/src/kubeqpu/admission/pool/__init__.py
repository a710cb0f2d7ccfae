"""The quota pool: a Cohort of Kueue whose quota is the slots that can be used now."""
