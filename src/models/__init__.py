"""Plain ``torch.nn.Module`` families, one a file."""
