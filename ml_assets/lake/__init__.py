"""The lake's engine: transactions, snapshots, history, restore, maintenance. It knows no table by name."""
