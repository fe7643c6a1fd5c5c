"""Objects: accounts, containers, and objects whose bytes are chunks named by their content."""
