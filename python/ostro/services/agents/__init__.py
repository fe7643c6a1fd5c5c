"""What the control plane does for and with hosts."""
