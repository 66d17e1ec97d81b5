"""Rendered configuration as release directories, switched by one atomic rename."""
