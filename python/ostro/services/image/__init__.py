"""Images: records, bytes, and who may see them."""
