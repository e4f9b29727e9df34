"""One module a command: each reads its flags, calls what does the work, and shows what came of it."""
