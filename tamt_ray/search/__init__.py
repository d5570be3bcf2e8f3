"""Finding subnetworks: the engine, the objectives, one file a method; torch, no Ray."""
