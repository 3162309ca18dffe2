"""A version on rows that no training and no search has seen, as findings: `evaluate.py` calls each of the others.

evaluate.py     metrics, gains over champion and baseline, calibration
comparison.py   which rows, and which model of the champion, a comparison uses
slices.py       slices and fairness
robustness.py   noise, missing values, permutation importance
leakage.py      leakage suspects
money.py        what decisions cost and save
"""
