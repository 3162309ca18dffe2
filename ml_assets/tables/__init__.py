"""The lake's tables: a module a family, which alone owns its name, columns, rows, writes, queries."""
