"""Everything that Ray does: board, gangs, fleet, aggregation."""
