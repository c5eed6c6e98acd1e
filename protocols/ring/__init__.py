"""The consistent-hash ring: tokens (where things stand), placement (who answers), movement (what changes hands)."""
