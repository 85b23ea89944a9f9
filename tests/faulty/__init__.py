"""A relay between the agent and Heat that breaks what passes through it: ``relay.Relay("127.0.0.1", port)``."""
