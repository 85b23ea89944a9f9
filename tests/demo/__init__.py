"""`make demo`: an operator upgrades services on a node, with the openstack client, a real Heat and a real Podman."""
