"""Loss terms of mask training, one file each; torch is imported where a loss is computed."""
