"""Daemons that the agent needs and runs privately where the system doesn't: started, adopted, supervised, stopped."""
