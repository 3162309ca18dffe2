"""What people read: HTML reports, plots and Markdown, drawn from plain rows that are handed in."""
