"""What `ml-assets ui` runs: the pages and Dagster's processes, each started again when it ends.

supervise   starts processes, starts them again, ends them
child       what each of them begins with: it ends with its parent
locations   asks Dagster which code locations the project has
services    the processes of a project: pages (ml_assets/pages), code servers, daemon, web server
web         Dagster's web server behind the guard, and what it passes on to the pages
guard       which requests either of them takes
"""
