"""Run one unit in a worker process: compute, checkpoint, commit, report."""
