"""How scenarios and results are printed: JSON for machines, tables and words for people. Decides nothing."""
