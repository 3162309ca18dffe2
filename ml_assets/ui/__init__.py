"""What `ml-assets ui` runs: Dagster's processes, each started again when it ends, and the server of the reports.

supervise   starts processes, starts them again, ends them
child       what each of them begins with: it ends with its parent
locations   asks Dagster which code locations the project has
services    the processes of a project: code servers, daemon, web server
web         Dagster's web server behind the guard
reports     the server of the HTML reports
guard       which requests either of them takes
"""
