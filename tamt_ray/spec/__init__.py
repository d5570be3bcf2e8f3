"""The sweep file as frozen values; every other room may import these and nothing else upward."""
