"""The command line: one module a command, loaded when it is called; machine output on stdout, the rest on stderr."""
