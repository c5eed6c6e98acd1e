"""What a person runs: demo, test, bench. The bash files set up the environment and start the modules beside them."""
