"""From a folder of files to a pipeline that runs: what `ml-assets init`, `dg scaffold` and `ml-assets suggest` share.

files.py finds the files and reads them, suggest.py turns statistics into columns and a target, evidence.py looks for
keys and leaks, draft.py puts it together, render.py writes it down, project.py knows where it goes.
"""
