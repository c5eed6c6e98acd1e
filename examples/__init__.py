"""What the demo does its work with: see README.md."""
