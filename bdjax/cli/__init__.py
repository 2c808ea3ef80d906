"""What is typed: commands, their arguments, and which function each calls."""
