"""The `meshnode` command: what a person types, what he reads, and the exit status that a script reads."""
