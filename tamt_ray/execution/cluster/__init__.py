"""Connect to Ray, watch its nodes, ask for more, check and submit."""
