"""What the calls of the Python package take."""
