"""What happened in a run, kept: for pictures, for the last events before a violation, for telling two runs apart."""
