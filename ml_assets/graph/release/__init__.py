"""A trained model becomes the champion, or not: evaluated on unseen rows, packaged, judged by the gates.

evaluation/   what a version is worth on test rows: findings
packaging/    what it ships as: the model that serves, the release folder, the test of its server
promotion/    whether it becomes the champion: gates, the decision, approvals

Belongs here: what computes and decides. Does not: what people read of it (reporting/), how it is stored
(tables/evaluations.py, releases.py, decisions.py).
"""
