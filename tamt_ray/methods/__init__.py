"""Ways to find a subnetwork, one file each; torch is imported where a mask is computed."""
