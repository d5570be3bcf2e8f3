"""Binary masks over the prunable matrices of an encoder."""
