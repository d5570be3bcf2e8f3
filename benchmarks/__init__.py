"""How fast, beside whom: one module a question, each timing its contestants in turn."""
