"""The network service: networks, subnets, ports, security groups, and what hosts must do about them."""
