"""overcloud-agent: the node side of Heat software deployments.

Data flows one way: collect -> journal -> runner -> hook -> journal -> signals. `agent.py` is the flow.
"""
