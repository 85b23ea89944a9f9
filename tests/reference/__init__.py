"""The reference stack on this machine: os-collect-config, os-refresh-config, os-apply-config and heat-agents.

`install` gets the released programs, unmodified; `node` gives them a place in which their hard-coded paths are free.
"""
