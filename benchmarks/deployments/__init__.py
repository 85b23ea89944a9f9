"""Software deployments: latency, processor time, processes, passes with nothing new, idling; reference and ours."""
