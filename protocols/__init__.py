"""What nodes say and decide: pure protocol machines (DESIGN 2). See README.md in this folder."""
