"""The control socket: how programs on this machine talk to the daemon (DESIGN 8, local access)."""
