"""What competes in the benches: the hub's own worker, and references written by hand for the same work."""
