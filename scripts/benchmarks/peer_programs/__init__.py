"""Programs that do a benchmark's job with the peer. Run as scripts, most of them in the peers' environment."""
