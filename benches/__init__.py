"""What holdall takes: for ourselves (`make bench`), and beside its peers (`make bench-peers`)."""
