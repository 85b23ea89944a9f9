"""The agent is killed (SIGKILL) wherever it can be, started again, and has to make the world right."""
