"""Search gangs: DDP workers under Ray Train."""
