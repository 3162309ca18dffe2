"""What people read: HTML reports, plots and Markdown, made of rows and dataclasses that are handed in.

Belongs here: how numbers become sentences, tables and plots. Does not: computing them (graph/), storing them (tables/).

html.py, templates/      a report's markup and style; every value is text
evaluation_*.py          the report of an evaluation: sentences and tables, plots, Evidently's report, its files
narrative.py             sentences that the report and the model card share
model_card.py            the model card, Markdown
drift_*.py, score_plot.py, search_plots.py, searches.py     drift, live scores, hyperparameter searches
markdown.py, plots.py    tables as Markdown; matplotlib figures as PNG
"""
