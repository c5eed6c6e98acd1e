"""The simulator: the very same protocol objects as in the daemon, in virtual time, with everything that can break."""
